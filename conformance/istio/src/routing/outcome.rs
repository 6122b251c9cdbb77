//! An answer in the form in which answers are compared.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::judge::{Answer, Arrival};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outcome {
    /// The cluster that answered; empty if a proxy did.
    pub(super) cluster: String,
    /// 0 where nothing listens.
    pub(super) status: u16,
    /// Of the response, without those of every response.
    pub(super) headers: BTreeMap<String, String>,
    /// That of a proxy's own answer.
    pub(super) body: String,
    /// The request as the service saw it.
    pub(super) seen: Seen,
    /// Every attempt and every mirrored request, sorted.
    pub(super) arrivals: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// The headers of every response of the service, with their values.
pub(super) const OF_SERVICE: [(&str, &str); 2] = [("x-up", "service"), ("x-version", "service")];

/// Headers that say nothing about routing.
const LEFT_OUT: [&str; 19] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "date",
    "host",
    "server",
    "transfer-encoding",
    "user-agent",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-upstream-service-time",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-judge-cluster",
    "x-request-id",
];

impl Outcome {
    pub(super) fn of_judge(answer: &Answer) -> Self {
        if answer.closed {
            return Self::default();
        }
        let headers = compared(answer.headers.clone());
        let mut arrivals: Vec<String> = answer.arrivals.iter().map(arrival).collect();
        arrivals.sort_unstable();
        match serde_json::from_str::<Seen>(&answer.body) {
            Ok(mut seen) => {
                seen.headers = compared(seen.headers);
                let cluster = answer.headers.get("x-judge-cluster");
                Self {
                    cluster: cluster.cloned().unwrap_or_default(),
                    status: answer.status,
                    headers,
                    body: String::new(),
                    seen,
                    arrivals,
                }
            }
            Err(_) => Self {
                status: answer.status,
                headers,
                body: answer.body.clone(),
                arrivals,
                ..Self::default()
            },
        }
    }
}

/// An arrival in the form in which arrivals are compared.
pub(super) fn arrival(it: &Arrival) -> String {
    format!("{} {} {} {}", it.cluster, it.method, it.host, it.target)
}

/// The headers that are compared.
pub(super) fn compared(
    headers: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let headers = headers.into_iter();
    headers
        .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
        .collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cluster.as_str() {
            "" if self.status == 0 => return f.write_str("does not listen"),
            "" => write!(f, "{} {:?}", self.status, self.body)?,
            cluster => {
                let seen = &self.seen;
                write!(f, "{} from {cluster}\n    {} ", self.status, seen.method)?;
                write!(f, "{} {} {:?}", seen.host, seen.target, seen.headers)?;
            }
        }
        write!(f, "\n    {:?}", self.headers)?;
        let mut arrivals = self.arrivals.iter();
        arrivals.try_for_each(|it| write!(f, "\n    at {it}"))
    }
}
