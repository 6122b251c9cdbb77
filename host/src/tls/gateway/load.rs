//! The TLS configuration of all ports, from the objects in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use galleria_manifest::model::{Object, ServerTls, TlsMode};
use galleria_manifest::{Diagnostic, Position, Severity, codes};
use galleria_mesh::{Listener, ListenerServer, ListenerTls};
use sha2::{Digest as _, Sha256};

use super::build::{build, build_mesh};
use super::contents::{Reader, Secrets};
use super::mesh::MeshCertificates;
use super::{Digest, PortServer, PortServers, ServerContext};
use crate::causes::with_causes;
use crate::tls::PemFile;

/// The configuration of every port with TLS. Never changes.
#[derive(Default)]
pub(crate) struct GatewayTls {
    ports: BTreeMap<u16, Arc<PortServers>>,
    /// The servers that are not as their objects say.
    pub(crate) faults: Vec<Fault>,
    /// The files that were read, with what they contained.
    files: Vec<(PemFile, Option<Digest>)>,
    /// Of the identity of the gateway, if a server uses it.
    mesh: Option<Digest>,
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
    mesh: &'a MeshCertificates,
    uses_mesh: bool,
    previous: &'a GatewayTls,
    files: Vec<(PemFile, Option<Digest>)>,
    faults: Vec<Fault>,
}

impl GatewayTls {
    /// Reads the certificates of `listeners`. A server whose new certificates cannot be used
    /// keeps those that it has in `previous`. Blocks while it reads files.
    pub(crate) fn load(
        listeners: &[Listener],
        objects: &[Arc<Object>],
        mesh: &MeshCertificates,
        previous: &Self,
    ) -> Self {
        let secrets = Secrets::new(objects);
        let mut load = Load {
            secrets: &secrets,
            mesh,
            uses_mesh: false,
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
            mesh: mesh.digest().filter(|_| load.uses_mesh),
            faults: load.faults,
            files: load.files,
        }
    }

    /// The servers of a port; None if none of them can be opened.
    pub(crate) fn port(&self, port: u16) -> Option<&Arc<PortServers>> {
        self.ports.get(&port)
    }

    /// Whether a server uses the identity of the gateway, and it is no longer `mesh`.
    pub(crate) fn has_other_identity(&self, mesh: &MeshCertificates) -> bool {
        self.mesh.is_some() && mesh.digest().is_some_and(|now| self.mesh != Some(now))
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
        let expiring = certificates.filter_map(|it| {
            Some(Expiring {
                certificate: it.label.clone()?,
                not_after: it.parts.not_after,
            })
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
            port.all.push(Arc::new(PortServer {
                key,
                context,
                passes_through: is_passed_through(server) && !server.sni_hosts.is_empty(),
            }));
        }
        // A server that decrypts keeps its hosts, whatever the routes of others name.
        let all = port.all.clone();
        let servers = || listener.servers.iter().zip(&all);
        for (server, own) in servers().filter(|(server, _)| !is_passed_through(server)) {
            port.name(&server.hosts, own);
        }
        for (server, own) in servers() {
            port.name(&server.sni_hosts, own);
        }
        for (server, own) in servers() {
            port.name(&server.hosts, own);
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
        if is_passed_through(server) {
            if server.sni_hosts.is_empty() {
                let message = "no tls rule of a VirtualService passes its connections on";
                self.faults.push(fault("", message.to_owned(), true));
            }
            return None;
        }
        if let Some(why) = unsupported(tls) {
            self.faults.push(fault("", why, true));
            return None;
        }
        if tls.settings.mode == TlsMode::IstioMutual {
            let fault = |message| fault("", message, false);
            return self.mesh_context(&tls.settings, known, fault);
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
            Ok(context) => Some(renewed(context, known)),
            Err(error) => {
                let field = tls.settings.certificates.first();
                let field = field.map_or("", |certificate| certificate.field.as_str());
                let fault = fault(field, with_causes(&error), false);
                self.keep(known, fault)
            }
        }
    }

    /// The context of a server with the identity of the gateway.
    fn mesh_context(
        &mut self,
        settings: &ServerTls,
        known: Option<&Arc<ServerContext>>,
        fault: impl Fn(String) -> Fault,
    ) -> Option<Arc<ServerContext>> {
        self.uses_mesh = true;
        let identity = match self.mesh {
            MeshCertificates::Unknown => return None,
            MeshCertificates::NotShared => {
                let message = "mode ISTIO_MUTUAL needs an authority that clients share; start the host with --ca-dir";
                self.faults.push(fault(message.to_owned()));
                return None;
            }
            MeshCertificates::Failed(why) => return self.keep(known, fault(why.clone())),
            MeshCertificates::Shared(identity) => identity,
        };
        if let Some(known) = known
            && known.certificates_digest == identity.certificates_digest()
            && known.policy_digest == identity.policy_digest(settings)
        {
            return Some(known.clone());
        }
        match build_mesh(settings, identity) {
            Ok(context) => Some(renewed(context, known)),
            Err(error) => self.keep(known, fault(with_causes(&error))),
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

/// `context` instead of `known`, whose connections continue if the policy is the same.
fn renewed(mut context: ServerContext, known: Option<&Arc<ServerContext>>) -> Arc<ServerContext> {
    let same = known.filter(|it| it.policy_digest == context.policy_digest);
    if let Some(known) = same {
        context.retired = known.retired.clone();
    }
    Arc::new(context)
}

/// Whether the server does not decrypt.
fn is_passed_through(server: &ListenerServer) -> bool {
    let tls = server.tls.as_ref();
    tls.is_some_and(|tls| tls.settings.mode == TlsMode::Passthrough && tls.unenforced.is_none())
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
    let lacks_certificate = is_empty && mode != TlsMode::IstioMutual;
    lacks_certificate.then(|| "it has no certificate that it can use".to_owned())
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
