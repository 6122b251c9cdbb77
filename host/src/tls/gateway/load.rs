//! The TLS configuration of all ports, from the objects in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use galleria_manifest::model::Object;
use galleria_manifest::{Diagnostic, Position, Severity, codes};
use galleria_mesh::{Listener, ListenerServer, ListenerTls};
use sha2::{Digest as _, Sha256};

use super::build::build;
use super::contents::{Reader, Secrets};
use super::{Digest, PortServer, PortServers, ServerContext};
use crate::causes::with_causes;
use crate::tls::PemFile;

/// The configuration of every port that terminates TLS. Never changes.
#[derive(Default)]
pub(crate) struct GatewayTls {
    ports: BTreeMap<u16, Arc<PortServers>>,
    /// The servers that are not as their objects say.
    pub(crate) faults: Vec<Fault>,
    /// The files that were read, with what they contained.
    files: Vec<(PemFile, Option<Digest>)>,
}

/// Why a server is not opened, or keeps what it had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub port: u16,
    pub at: Position,
    /// `Gateway` or `Ingress`.
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// The field.
    pub path: String,
    pub message: String,
    /// The server continues with its previous certificates.
    pub keeps_previous: bool,
    /// The check of the manifests reports it as well.
    pub is_reported: bool,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiring {
    /// The Secret, as `namespace/name`, or the file.
    pub certificate: String,
    /// In seconds since 1970.
    pub not_after: i64,
}

/// The state of one load.
struct Load<'a> {
    secrets: &'a Secrets<'a>,
    previous: &'a GatewayTls,
    files: Vec<(PemFile, Option<Digest>)>,
    faults: Vec<Fault>,
}

impl GatewayTls {
    /// Reads the certificates of `listeners`. A server whose new certificates cannot be used
    /// keeps those that it has in `previous`. Blocks while it reads files.
    pub(crate) fn load(listeners: &[Listener], objects: &[Arc<Object>], previous: &Self) -> Self {
        let secrets = Secrets::new(objects);
        let mut load = Load {
            secrets: &secrets,
            previous,
            files: Vec::new(),
            faults: Vec::new(),
        };
        let secure = listeners.iter().filter(|listener| listener.is_secure());
        let ports = secure.map(|listener| (listener.port, Arc::new(load.port(listener))));
        let ports: BTreeMap<_, _> = ports.collect();
        Self {
            ports: ports
                .into_iter()
                .filter(|(_, port)| port.is_open())
                .collect(),
            faults: load.faults,
            files: load.files,
        }
    }

    /// The servers of a port; None if none of them can be opened.
    pub(crate) fn port(&self, port: u16) -> Option<&Arc<PortServers>> {
        self.ports.get(&port)
    }

    /// Whether a file has other contents than when it was read. Blocks.
    pub(crate) fn is_stale(&self) -> bool {
        self.files.iter().any(|(file, known)| {
            let now = file
                .read()
                .ok()
                .map(|contents| Sha256::digest(contents).into());
            now != *known
        })
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &PemFile> {
        self.files.iter().map(|(file, _)| file)
    }

    /// The problems that no other check reports.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let new = self.faults.iter().filter(|fault| !fault.is_reported);
        new.map(Fault::diagnostic).collect()
    }

    /// Each certificate in use.
    pub(crate) fn expiring(&self) -> BTreeSet<Expiring> {
        let servers = self.ports.values().flat_map(|port| &port.all);
        let contexts = servers.filter_map(|server| server.context.as_ref());
        let certificates = contexts.flat_map(|context| &context.certificates);
        let expiring = certificates.map(|it| Expiring {
            certificate: it.label.clone(),
            not_after: it.parts.not_after,
        });
        expiring.collect()
    }
}

impl Load<'_> {
    fn port(&mut self, listener: &Listener) -> PortServers {
        let mut port = PortServers::default();
        for server in &listener.servers {
            let key = key(listener.port, server);
            let context = self.context(listener.port, server, &key);
            let server_of_port = Arc::new(PortServer { key, context });
            port.add(&server.hosts, &server_of_port);
        }
        port
    }

    fn context(
        &mut self,
        port: u16,
        server: &ListenerServer,
        key: &str,
    ) -> Option<Arc<ServerContext>> {
        let tls = server.tls.as_ref()?;
        let known = self.previous.port(port).and_then(|it| it.context(key));
        let fault = |field: &str, message: String, is_reported| Fault {
            port,
            at: tls.settings.at.clone(),
            kind: server.gateway.kind,
            namespace: server.gateway.namespace.clone(),
            name: server.gateway.name.clone(),
            path: place(tls, field),
            message,
            keeps_previous: false,
            is_reported,
        };
        if let Some(why) = unsupported(tls) {
            self.faults.push(fault("", why, true));
            return None;
        }
        let mut reader = Reader {
            secrets: self.secrets,
            files: &mut self.files,
        };
        let contents = match reader.read(tls) {
            Ok(contents) => contents,
            Err((field, error)) => {
                let is_reported = error.is_reference();
                let fault = fault(&field, with_causes(&error), is_reported);
                return self.keep(known, fault);
            }
        };
        if let Some(known) = known
            && known.certificates_digest == contents.certificates_digest()
            && known.policy_digest == contents.policy_digest(&tls.settings)
        {
            return Some(known.clone());
        }
        match build(&tls.settings, &contents) {
            Ok(mut context) => {
                let same = known.filter(|it| it.policy_digest == context.policy_digest);
                if let Some(known) = same {
                    context.retired = known.retired.clone();
                }
                Some(Arc::new(context))
            }
            Err(error) => {
                let field = tls.settings.certificates.first();
                let field = field.map_or("", |certificate| certificate.field.as_str());
                let fault = fault(field, with_causes(&error), false);
                self.keep(known, fault)
            }
        }
    }

    /// Reports `fault`. The server keeps the context that it has.
    fn keep(
        &mut self,
        known: Option<&Arc<ServerContext>>,
        fault: Fault,
    ) -> Option<Arc<ServerContext>> {
        self.faults.push(Fault {
            keeps_previous: known.is_some(),
            ..fault
        });
        known.cloned()
    }
}

/// Why the host does not terminate TLS for a server.
fn unsupported(tls: &ListenerTls) -> Option<String> {
    if let Some(why) = tls.unenforced {
        return Some(why.to_owned());
    }
    let mode = tls.settings.mode;
    if !mode.terminates() {
        return Some(format!("mode {} is not supported", mode.name()));
    }
    let is_empty = tls.settings.certificates.is_empty();
    is_empty.then(|| "it has no certificate that it can use".to_owned())
}

fn place(tls: &ListenerTls, field: &str) -> String {
    match field {
        "" => tls.path.clone(),
        field => format!("{}.{field}", tls.path),
    }
}

/// The mode is part of the key: the context of another mode is no replacement.
fn key(port: u16, server: &ListenerServer) -> String {
    let gateway = &server.gateway;
    let (namespace, name) = (&gateway.namespace, &gateway.name);
    let tls = server.tls.as_ref();
    let mode = tls.map_or("", |tls| tls.settings.mode.name());
    let hosts = server.hosts.join(" ");
    format!("{} {namespace}/{name} {port} {mode} {hosts}", gateway.kind)
}

impl Fault {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic {
            at: self.at.clone(),
            severity: Severity::Warning,
            object: Some(format!("{}/{}", self.kind, self.name)),
            path: self.path.clone(),
            message: format!("{}; {}", self.message, self.consequence()),
            code: codes::GATEWAY_CREDENTIAL,
            unenforced: None,
        }
    }

    fn consequence(&self) -> &'static str {
        match self.keeps_previous {
            true => "the server keeps its previous certificates",
            false => "the server is not opened",
        }
    }
}

/// As a problem of the host.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            port,
            kind,
            namespace,
            name,
            path,
            message,
            ..
        } = self;
        let consequence = self.consequence();
        write!(
            f,
            "port {port} of {kind} {namespace}/{name}: {path}: {message}; {consequence}"
        )
    }
}
