//! Requests in the notation of the tables.

use std::net::IpAddr;
use std::sync::Arc;

use galleria_mesh::inbound::authorization::decide;
use galleria_mesh::inbound::external;
use galleria_mesh::inbound::{
    InboundPolicies, InboundRequest, Peer, RequestPrincipal, WorkloadIdentity,
};
use galleria_mesh::{RequestHead, Workload, normalise_path};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

/// A request in the notation of the tables: `METHOD HOST/PATH`, then any of
/// `from=NAMESPACE/ACCOUNT`, `from=client`, `from=nobody`, `ip=ADDRESS`, `port=NUMBER`,
/// `h:NAME=VALUE`, `iss=`, `sub=`, `aud=A,B`, `azp=`, `claim:NAME=JSON`.
pub(crate) struct Asked {
    pub(super) method: Method,
    pub(super) authority: String,
    pub(super) path: String,
    query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) peer: Peer,
    pub(super) source_ip: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) principal: Option<RequestPrincipal>,
}

impl Asked {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let method = words.next().expect("a method");
        let url = words.next().expect("a URL");
        let (authority, path) = url.split_once('/').unwrap_or((url, ""));
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        let path = format!("/{path}");
        let mut asked = Self {
            method: method.parse().expect("a method"),
            authority: authority.to_owned(),
            path: normalise_path(&path).expect("a path").into_owned(),
            query,
            headers: HeaderMap::new(),
            peer: Peer::Unknown,
            source_ip: None,
            port: 8080,
            principal: None,
        };
        for word in words {
            let (key, value) = word.split_once('=').expect("a key and a value");
            asked.set(key, value);
        }
        if let (Peer::Client { ip, .. }, Some(address)) = (&mut asked.peer, asked.source_ip) {
            *ip = address;
        }
        asked
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "from" if value == "nobody" => self.peer = Peer::Unknown,
            "from" if value == "client" => {
                let ip = "198.51.100.7".parse().expect("an address");
                let listener_port = 80;
                self.peer = Peer::Client { listener_port, ip };
                self.source_ip = Some(ip);
            }
            "from" => {
                let (namespace, account) = value.split_once('/').expect("an account");
                self.peer = Peer::Named(WorkloadIdentity {
                    namespace: namespace.to_owned(),
                    name: account.to_owned(),
                    service_account: account.to_owned(),
                });
            }
            "ip" => self.source_ip = Some(value.parse().expect("an address")),
            "port" => self.port = value.parse().expect("a port"),
            "iss" => self.token().issuer = value.to_owned(),
            "sub" => self.token().subject = value.to_owned(),
            "azp" => self.token().presenter = Some(value.to_owned()),
            "aud" => self.token().audiences = value.split(',').map(str::to_owned).collect(),
            _ => {
                if let Some(name) = key.strip_prefix("h:") {
                    let name: HeaderName = name.parse().expect("a header");
                    let value = HeaderValue::from_str(value).expect("a value");
                    self.headers.append(name, value);
                } else {
                    let name = key.strip_prefix("claim:").expect("a known word");
                    let value: Value = serde_json::from_str(value).expect("JSON");
                    self.token().claims.insert(name.to_owned(), value);
                }
            }
        }
    }

    fn token(&mut self) -> &mut RequestPrincipal {
        self.principal.get_or_insert_with(|| RequestPrincipal {
            issuer: "issuer".into(),
            subject: "subject".into(),
            audiences: Vec::new(),
            presenter: None,
            claims: Map::new(),
        })
    }

    /// As the pod sees it: the connection of a client ends at the gateway, so that its address
    /// is not the source's.
    pub(crate) fn behind_the_gateway(mut self) -> Self {
        if let Peer::Client { .. } = self.peer {
            self.source_ip = None;
        }
        self
    }

    pub(crate) fn inbound<'a>(&'a self, destination: &'a Workload) -> InboundRequest<'a> {
        InboundRequest {
            destination,
            port: self.port,
            peer: &self.peer,
            head: RequestHead {
                method: &self.method,
                scheme: "http",
                authority: &self.authority,
                path: &self.path,
                query: self.query.as_deref(),
                headers: &self.headers,
                source_ip: self.source_ip,
            },
            principal: self.principal.as_ref(),
        }
    }

    /// `allow`, or what is in the brackets of the denial's details.
    pub(crate) fn answer(&self, policies: Option<&Arc<InboundPolicies>>, to: &Workload) -> String {
        let Some(policies) = policies else {
            return "allow".into();
        };
        let inbound = self.inbound(to);
        let asked = external::decide(policies, &inbound);
        match asked.and_then(|_| decide(policies, &inbound)) {
            Ok(()) => "allow".into(),
            Err(reply) => {
                assert_eq!(reply.status, 403);
                assert_eq!(reply.body, "RBAC: access denied");
                assert_eq!(reply.flags.to_string(), "-");
                let details = reply
                    .details
                    .strip_prefix("rbac_access_denied_matched_policy[");
                let rule = details.and_then(|it| it.strip_suffix(']'));
                rule.expect("the details of Envoy").to_owned()
            }
        }
    }
}
