//! Matches any pattern against any request: the decision of the mesh, made with its
//! index, equals the direct result of the pattern, and `explain` agrees with `route`.
//!
//! An input consists of lines: the kind of match, the pattern, then the request's method,
//! host, path, query and a header's value.

#![no_main]

use std::path::Path;
use std::time::{Duration, Instant};

use galleria_manifest::read_str;
use galleria_mesh::inbound::jwt::TokenTime;
use galleria_mesh::{
    Caller, Decision, Options, RequestHead, Snapshot, State, compile, normalise_path,
};
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use regex::Regex;
use serde_json::json;

/// The status of the rule with the pattern, and of the rule after it.
const MATCHED: u16 = 201;
const OTHER: u16 = 202;
const EDGE: Caller<'static> = Caller::Edge { listener_port: 80 };

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (kind, pattern) = (line(), line());
    let (method, host, path, query, header) = (line(), line(), line(), line(), line());
    let (Ok(method), Ok(value)) = (
        Method::from_bytes(method.as_bytes()),
        HeaderValue::from_str(header),
    ) else {
        return;
    };
    let Ok(path) = normalise_path(path) else {
        return;
    };
    let Some(snapshot) = snapshot(kind, pattern) else {
        return;
    };
    let headers = HeaderMap::from_iter([(http::header::COOKIE, value)]);
    let head = RequestHead {
        method: &method,
        scheme: "http",
        authority: host,
        path: &path,
        query: Some(query),
        headers: &headers,
        source_ip: None,
    };
    let decided = decide(&snapshot, &head);
    let time = TokenTime {
        unix: Duration::ZERO,
        monotonic: Instant::now(),
    };
    let explained = snapshot.explain(EDGE, &head, time);
    assert_eq!(explained.reply.map(|reply| reply.status), Some(decided));
    if let Some(expected) = expected(kind, pattern, &head, header) {
        assert_eq!(decided, if expected { MATCHED } else { OTHER });
    }
});

/// Two rules: one with the pattern, and one that matches all other requests.
fn snapshot(kind: &str, pattern: &str) -> Option<Snapshot> {
    let (field, form) = kind.split_once(' ')?;
    let asked = json!({ form: pattern });
    let block = match field {
        "uri" => json!({ "uri": asked }),
        "uri-any-case" => json!({ "uri": asked, "ignoreUriCase": true }),
        "method" => json!({ "method": asked }),
        "authority" => json!({ "authority": asked }),
        "cookie" => json!({ "headers": { "cookie": asked } }),
        "no-cookie" => json!({ "withoutHeaders": { "cookie": asked } }),
        "query" => json!({ "queryParams": { "q": asked } }),
        "host" => return hosts(pattern),
        _ => return None,
    };
    let rules = json!([
        { "match": [block], "directResponse": { "status": MATCHED } },
        { "directResponse": { "status": OTHER } },
    ]);
    compiled(&[virtual_service("vs", "*", &rules)])
}

/// Two VirtualServices: one for a host that may contain a wildcard, and one for all other
/// hosts.
fn hosts(pattern: &str) -> Option<Snapshot> {
    let answer = |status: u16| json!([{ "directResponse": { "status": status } }]);
    compiled(&[
        virtual_service("vs", pattern, &answer(MATCHED)),
        virtual_service("rest", "*", &answer(OTHER)),
    ])
}

fn virtual_service(name: &str, host: &str, rules: &serde_json::Value) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": name, "namespace": "shop" },
        "spec": { "hosts": [host], "gateways": ["gw"], "http": rules },
    })
    .to_string()
}

/// `None` if the reader rejects the pattern.
fn compiled(documents: &[String]) -> Option<Snapshot> {
    let gateway = r#"{"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
"metadata": {"name": "gw", "namespace": "shop"}, "spec": {"selector": {"istio": "ingressgateway"},
"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}}"#;
    let yaml = format!("{gateway}\n---\n{}", documents.join("\n---\n"));
    let loaded = read_str(Path::new("patterns.yaml"), &yaml);
    if loaded.has_errors() {
        return None;
    }
    let state = State::new(Instant::now());
    Some(compile(&loaded.objects, &[], &Options::default(), &state).snapshot)
}

fn decide(snapshot: &Snapshot, head: &RequestHead<'_>) -> u16 {
    match snapshot.route(EDGE, head, &mut SmallRng::seed_from_u64(1)) {
        Decision::Reply(reply) => reply.status.as_u16(),
        Decision::Forward(_) => unreachable!("no rule forwards"),
    }
}

/// The result of the pattern without the mesh; `None` if it is not known here.
fn expected(kind: &str, pattern: &str, head: &RequestHead<'_>, cookie: &str) -> Option<bool> {
    let (field, form) = kind.split_once(' ')?;
    let subject = match field {
        "uri" => head.path,
        "method" => head.method.as_str(),
        "authority" => head.authority,
        "cookie" | "no-cookie" => cookie,
        _ => return None,
    };
    let matched = match form {
        "exact" => subject == pattern,
        "prefix" => subject.starts_with(pattern),
        // Istio's former syntax for a header that is present.
        "regex" if pattern == "*" => true,
        "regex" => Regex::new(&format!("^(?:{pattern})$"))
            .ok()?
            .is_match(subject),
        _ => return None,
    };
    Some(matched != (field == "no-cookie"))
}
