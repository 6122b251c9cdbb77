//! The answers of `galleria-mesh`, in the order in which the host asks it
//! (`host/src/call/inbound.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use galleria_manifest::model::ContainerPort;
use galleria_manifest::{Diagnostic, Severity};
use galleria_mesh::inbound::jwt::{KeySetCache, TokenDecision, TokenTime};
use galleria_mesh::inbound::peer::{self, Connection};
use galleria_mesh::inbound::{
    InboundPolicies, InboundRequest, Peer, RequestPrincipal, WorkloadIdentity, authorization, jwt,
};
use galleria_mesh::{
    LocalReply, Location, Options, Pod, RequestHead, State, Workload, compile, normalise_path,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::case::{ACCOUNT, Caller, Case, LABELS, NAME, PORTS, Request, SEEN};
use super::outcome::{Outcome, Verdict, reported};

/// The answers to the requests of a case.
///
/// # Errors
/// The errors of the manifest.
pub(super) fn answer(case: &Case) -> Result<Vec<Outcome>, String> {
    let loaded = galleria_manifest::read_str(Path::new("case.yaml"), &case.manifest);
    if loaded.has_errors() {
        let is_error = |it: &&Diagnostic| it.severity == Severity::Error;
        let errors = loaded.diagnostics.iter().filter(is_error);
        let errors = errors.map(ToString::to_string);
        return Err(errors.collect::<Vec<_>>().join("\n"));
    }
    let labels = LABELS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let workload = Workload::new(
        case.namespace.as_str(),
        NAME,
        ACCOUNT,
        labels.into_iter().collect(),
    );
    let workload = Arc::new(workload);
    let pod = Pod {
        name: format!("{NAME}-0"),
        workload: Arc::clone(&workload),
        labels: workload.labels.clone(),
        ports: PORTS.map(container_port).to_vec(),
        ready: Arc::new(AtomicBool::new(true)),
        location: Location::Here(0),
    };
    let state = State::new(Instant::now());
    let snapshot = compile(&loaded.objects, &[pod], &Options::default(), &state).snapshot;
    let policies = snapshot.inbound_policies(&workload);
    let answers = case.requests.iter().map(|request| {
        match Arrived::new(request).and_then(|arrived| arrived.decide(&workload, policies)) {
            Ok(seen) => Outcome::admitted(seen),
            Err(reply) => refused(&reply),
        }
    });
    Ok(answers.collect())
}

fn container_port(number: u16) -> ContainerPort {
    ContainerPort {
        name: None,
        container_port: number,
    }
}

fn refused(reply: &LocalReply) -> Outcome {
    if reply.details.starts_with("peer_authentication") {
        return Outcome::closed();
    }
    let challenge = reply
        .headers
        .iter()
        .find(|(name, _)| name == "www-authenticate");
    let challenge = challenge.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into());
    Outcome {
        verdict: Verdict::Refused(reply.status.as_u16()),
        body: String::from_utf8_lossy(&reply.body).into(),
        challenge,
        details: reply.details.to_string(),
        ..Outcome::closed()
    }
}

/// A request as the host has it.
struct Arrived<'a> {
    request: &'a Request,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl<'a> Arrived<'a> {
    fn new(request: &'a Request) -> Result<Self, LocalReply> {
        let malformed = || LocalReply::bad_request("malformed");
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.target.as_str(), None),
        };
        let path = normalise_path(path)?;
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| malformed())?;
            headers.append(name, value);
        }
        Ok(Self {
            request,
            method: request.method.parse().map_err(|_| malformed())?,
            uri: target.parse().map_err(|_| malformed())?,
            headers,
        })
    }

    /// What the workload sees of the request.
    fn decide(
        mut self,
        workload: &Arc<Workload>,
        policies: Option<&Arc<InboundPolicies>>,
    ) -> Result<BTreeMap<String, String>, LocalReply> {
        let Some(policies) = policies else {
            return Ok(self.seen());
        };
        let (caller, connection) = self.caller();
        let caller = match peer::proves_identity(policies, self.request.port, connection) {
            true => caller,
            false => Peer::Unknown,
        };
        let inbound = self.inbound(workload, &caller, None);
        peer::decide(policies, &inbound, connection)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = TokenTime {
            unix: now.unwrap_or(Duration::ZERO),
            monotonic: Instant::now(),
        };
        let decision = jwt::decide(policies, &inbound, time, &KeySetCache::default())?;
        let TokenDecision::Admitted(authenticated) = decision else {
            // The cases have their keys inline.
            return Err(jwt::keys_not_fetched(&inbound.head));
        };
        authenticated.apply_headers(&mut self.headers);
        authenticated.apply_query(&mut self.uri);
        let inbound = self.inbound(workload, &caller, authenticated.principal.as_deref());
        authorization::decide(policies, &inbound)?;
        Ok(self.seen())
    }

    fn caller(&self) -> (Peer, Connection) {
        match &self.request.from {
            Caller::Workload {
                namespace, account, ..
            } => {
                let identity = WorkloadIdentity {
                    namespace: namespace.clone(),
                    name: account.clone(),
                    service_account: account.clone(),
                };
                (Peer::Named(identity), Connection::MutualTls)
            }
            Caller::Unknown { .. } => (Peer::Unknown, Connection::PlainText),
            Caller::Client(ip) => {
                let (listener_port, ip) = (80, *ip);
                (Peer::Client { listener_port, ip }, Connection::MutualTls)
            }
        }
    }

    fn inbound<'b>(
        &'b self,
        destination: &'b Workload,
        peer: &'b Peer,
        principal: Option<&'b RequestPrincipal>,
    ) -> InboundRequest<'b> {
        InboundRequest {
            destination,
            port: self.request.port,
            peer,
            head: RequestHead {
                method: &self.method,
                scheme: "http",
                authority: &self.request.host,
                path: self.uri.path(),
                query: self.uri.query(),
                headers: &self.headers,
                source_ip: match &self.request.from {
                    Caller::Workload { address, .. } | Caller::Unknown { address } => *address,
                    Caller::Client(ip) => Some(*ip),
                },
            },
            principal,
        }
    }

    fn seen(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let target = self.uri.path_and_query();
        let target = target.map_or_else(String::new, ToString::to_string);
        seen.insert("path".to_owned(), target);
        for name in SEEN {
            let values = self.headers.get_all(name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
            reported(name, values).map(|value| seen.insert(name.to_owned(), value));
        }
        seen
    }
}
