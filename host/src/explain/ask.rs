//! Reads the request to explain from the command line.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use galleria_mesh as mesh;
use galleria_mesh::inbound::jwt::TokenTime;
use galleria_mesh::{Explanation, RequestHead, Snapshot, Workload};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::{Question, Subject};

/// A request and its caller.
pub(super) struct ParsedQuestion {
    pub(super) uri: Uri,
    pub(super) method: Method,
    headers: HeaderMap,
    authority: String,
    path: String,
    pub(super) from: From,
}

pub(super) enum From {
    Edge { listener_port: u16 },
    Workload(Arc<Workload>),
}

/// Why the question is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrongUsage {
    #[error("--url `{0}` is not a valid URL; write it as in http://shop.example.com/ui")]
    Url(String),
    #[error("--method `{0}` is not a valid method; write it as in GET")]
    Method(String),
    #[error("-H `{0}` is not a valid header; write it as in \"end-user: metamagic\"")]
    Header(String),
    #[error("--url `{0}` is rejected before any rule is evaluated: its path cannot be normalized")]
    Path(String),
    #[error("--from `{0}` is not a known workload{1}")]
    From(String, String),
    #[error("cannot write the explanation")]
    Json(#[from] serde_json::Error),
    /// The running host's error message about the question.
    #[error("{0}")]
    Host(String),
}

impl ParsedQuestion {
    pub(super) fn read(question: &Question, subject: &Subject<'_>) -> Result<Self, WrongUsage> {
        let uri = url(&question.url)?;
        let method = Method::from_bytes(question.method.as_bytes())
            .map_err(|_| WrongUsage::Method(question.method.clone()))?;
        let headers = headers(&question.headers)?;
        let path = mesh::normalise_path(uri.path())
            .map(Cow::into_owned)
            .map_err(|_| WrongUsage::Path(question.url.clone()))?;
        let from = match &question.from {
            None => From::Edge {
                listener_port: declared_port(&uri, subject),
            },
            Some(name) => From::Workload(workload(name, subject.pods)?),
        };
        let authority = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .or_else(|| uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            method,
            headers,
            authority,
            path,
            from,
            uri,
        })
    }

    pub(super) fn explain(&self, snapshot: &Snapshot) -> Explanation {
        let caller = match &self.from {
            From::Edge { listener_port } => mesh::Caller::Edge {
                listener_port: *listener_port,
            },
            From::Workload(workload) => mesh::Caller::Workload(workload),
        };
        let head = RequestHead {
            method: &self.method,
            scheme: self.uri.scheme_str().unwrap_or("http"),
            authority: &self.authority,
            path: &self.path,
            query: self.uri.query(),
            headers: &self.headers,
            source_ip: None,
        };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = TokenTime {
            unix: unix.unwrap_or_default(),
            monotonic: Instant::now(),
        };
        snapshot.explain(caller, &head, time)
    }
}

fn url(text: &str) -> Result<Uri, WrongUsage> {
    let wrong = || WrongUsage::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if known && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(uri)
    } else {
        Err(wrong())
    }
}

fn headers(lines: &[String]) -> Result<HeaderMap, WrongUsage> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let pair = line.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            let value: HeaderValue = value.trim().parse().ok()?;
            Some((name, value))
        });
        let (name, value) = pair.ok_or_else(|| WrongUsage::Header(line.clone()))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The port of the listener that the address leads to: the declared port that it names,
/// or the one that is bound there.
fn declared_port(uri: &Uri, subject: &Subject<'_>) -> u16 {
    let scheme = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = uri.port_u16().unwrap_or(scheme);
    let listeners = subject.snapshot.listeners();
    if listeners.iter().any(|listener| listener.port == port) {
        return port;
    }
    let bound = subject.bound.iter().find(|(_, bound)| *bound == port);
    bound.map_or(port, |(declared, _)| *declared)
}

fn workload(name: &str, pods: &[mesh::Pod]) -> Result<Arc<Workload>, WrongUsage> {
    let full = |pod: &mesh::Pod| format!("{}/{}", pod.workload.namespace, pod.workload.name);
    if let Some(found) = pods.iter().find(|pod| full(pod) == name) {
        return Ok(found.workload.clone());
    }
    let mut names: Vec<String> = pods.iter().map(full).collect();
    names.sort_by_key(|candidate| strsim::osa_distance(candidate, name));
    let hint = match names.first() {
        None => "; these manifests have none".to_owned(),
        Some(near) => format!("; did you mean `{near}`?"),
    };
    Err(WrongUsage::From(name.to_owned(), hint))
}
