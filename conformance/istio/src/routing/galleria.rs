//! The answers of `galleria-mesh`, in the order in which the host asks it
//! (`host/src/call.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use galleria_manifest::{Diagnostic, Severity};
use galleria_mesh::edge::join_cookies;
use galleria_mesh::{
    Caller, Decision, Failure, Forward, LocalReply, Location, Options, OutboundPolicy, Pod,
    RequestHead, RetryDecision, Snapshot, State, Workload, compile, normalise_path,
};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::case::{Case, PROXIES, Request, labels};
use super::outcome::{OF_SERVICE, Outcome, Seen, arrival, compared};
use crate::judge::Arrival;

/// How often a request is decided, to see the results of random choices.
const TRIES: u64 = 24;

/// The possible answers to each request of a case.
///
/// # Errors
/// The errors of the manifest.
pub(super) fn answer(case: &Case) -> Result<Vec<Vec<Outcome>>, String> {
    let loaded = galleria_manifest::read_str(Path::new("case.yaml"), &case.manifest());
    if loaded.has_errors() {
        let is_error = |it: &&Diagnostic| it.severity == Severity::Error;
        let errors = loaded.diagnostics.iter().filter(is_error);
        let errors = errors.map(ToString::to_string);
        return Err(errors.collect::<Vec<_>>().join("\n"));
    }
    let workloads = PROXIES.map(|proxy| {
        let labels = labels(&proxy).into_iter().collect();
        Arc::new(Workload::new(
            proxy.namespace,
            proxy.name,
            proxy.name,
            labels,
        ))
    });
    let pods = workloads.each_ref().map(|workload| Pod {
        name: format!("{}-0", workload.name),
        workload: Arc::clone(workload),
        labels: workload.labels.clone(),
        ports: Vec::new(),
        ready: Arc::new(AtomicBool::new(true)),
        location: Location::Here(0),
    });
    let state = State::new(Instant::now());
    let options = Options {
        outbound_policy: OutboundPolicy::AllowAny,
        ..Options::default()
    };
    let snapshot = compile(&loaded.objects, &pods[1..], &options, &state).snapshot;
    let answers = case.requests.iter().map(|request| {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for seed in 0..TRIES {
            let outcome = decide(&snapshot, &workloads[request.proxy], request, seed);
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
        }
        outcomes
    });
    Ok(answers.collect())
}

fn decide(snapshot: &Snapshot, workload: &Arc<Workload>, request: &Request, seed: u64) -> Outcome {
    let is_gateway = PROXIES[request.proxy].gateway;
    let listens = snapshot
        .listeners()
        .iter()
        .any(|it| it.port == request.port);
    if is_gateway && !listens {
        return Outcome::default();
    }
    let parts = match parts(request) {
        Ok(parts) => parts,
        Err(reply) => return replied(reply),
    };
    let head = RequestHead {
        method: &parts.method,
        scheme: "http",
        authority: &request.host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        source_ip: None,
    };
    let caller = match is_gateway {
        true => Caller::Edge {
            listener_port: request.port,
        },
        false => Caller::Workload(workload),
    };
    let mut rng = StdRng::seed_from_u64(seed);
    match snapshot.decide(caller, &head, &mut rng).decision {
        Decision::Reply(reply) => replied(reply),
        Decision::Forward(forward) => forwarded(&forward, parts, &mut rng),
    }
}

fn forwarded(forward: &Forward, mut parts: request::Parts, rng: &mut StdRng) -> Outcome {
    let origin = parts.headers.get(ORIGIN).cloned();
    let abort = forward.fault(rng).abort;
    let (mut response, ()) = http::Response::new(()).into_parts();
    if let Some(abort) = abort {
        (response, _) = abort.clone().into_response().into_parts();
        forward.apply_response(origin.as_ref(), &mut response);
        return Outcome {
            headers: texts(&response.headers),
            ..replied(abort)
        };
    }
    let wanted = Wanted::of(&parts);
    forward.apply_request(&mut parts);
    let host = parts.headers.get(HOST).map(text).unwrap_or_default();
    let target = parts.uri.path_and_query();
    let seen = Seen {
        method: parts.method.to_string(),
        target: target.map_or_else(String::new, ToString::to_string),
        host,
        headers: texts(&parts.headers),
    };
    response.headers = OF_SERVICE
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect();
    let (attempts, reply) = attempts(forward, &parts.method, &wanted, rng);
    let to = |cluster: &str| {
        arrival(&Arrival {
            cluster: cluster.to_owned(),
            method: seen.method.clone(),
            target: seen.target.clone(),
            host: seen.host.clone(),
        })
    };
    let mirrors = forward.mirrors(rng).map(|it| to(&it.cluster.name));
    let mut arrivals: Vec<String> = mirrors.collect();
    arrivals.extend((0..attempts).map(|_| to(&forward.cluster.name)));
    arrivals.sort_unstable();
    if let Some(reply) = reply {
        (response, _) = reply.clone().into_response().into_parts();
        forward.apply_response(origin.as_ref(), &mut response);
        return Outcome {
            headers: texts(&response.headers),
            arrivals,
            ..replied(reply)
        };
    }
    forward.apply_response(origin.as_ref(), &mut response);
    Outcome {
        cluster: forward.cluster.name.clone(),
        status: wanted.status.as_u16(),
        headers: texts(&response.headers),
        body: String::new(),
        seen,
        arrivals,
    }
}

/// How the service answers a request.
struct Wanted {
    status: StatusCode,
    delay: Duration,
}

impl Wanted {
    fn of(parts: &request::Parts) -> Self {
        let number = |name: &str| parts.headers.get(name)?.to_str().ok()?.parse().ok();
        let status = number("x-want-status").and_then(|it| StatusCode::from_u16(it).ok());
        let delay = number("x-want-delay").map(|it: u16| Duration::from_millis(it.into()));
        Self {
            status: status.unwrap_or(StatusCode::OK),
            delay: delay.unwrap_or_default(),
        }
    }
}

/// The number of attempts, and the mesh's own reply if the last of them takes too long.
fn attempts(
    forward: &Forward,
    method: &Method,
    wanted: &Wanted,
    rng: &mut StdRng,
) -> (u32, Option<LocalReply>) {
    let mut time = Duration::ZERO;
    let mut number = 0;
    loop {
        number += 1;
        let limit = forward.per_try_timeout.filter(|it| *it < wanted.delay);
        time += limit.unwrap_or(wanted.delay);
        if forward.timeout.is_some_and(|timeout| timeout < time) {
            return (number, Some(LocalReply::upstream_timeout()));
        }
        let outcome = match limit {
            Some(_) => galleria_mesh::Outcome::failure(Failure::Timeout),
            None => galleria_mesh::Outcome::response(wanted.status),
        };
        match forward.retry_policy().decide(number, method, &outcome, rng) {
            RetryDecision::Retry(pause) => time += pause,
            RetryDecision::Exhausted | RetryDecision::Final => {
                let reply = limit.map(|_| LocalReply::for_failure(Failure::Timeout));
                return (number, reply);
            }
        }
    }
}

fn replied(reply: LocalReply) -> Outcome {
    Outcome {
        status: reply.status.as_u16(),
        headers: texts(&reply.headers.into_iter().collect()),
        body: String::from_utf8_lossy(&reply.body).into(),
        ..Outcome::default()
    }
}

/// A request as the host has it.
fn parts(request: &Request) -> Result<request::Parts, LocalReply> {
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
    let host = [("host".to_owned(), request.host.clone())];
    for (name, value) in host.iter().chain(&request.headers) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| malformed())?;
        headers.append(name, value);
    }
    join_cookies(&mut headers);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.parse().map_err(|_| malformed())?;
    parts.uri = target.parse().map_err(|_| malformed())?;
    parts.headers = headers;
    Ok(parts)
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().map(|name| {
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        (name.to_string(), values.join(","))
    });
    compared(names)
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into()
}
