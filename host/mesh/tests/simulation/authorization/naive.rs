//! A naive evaluator of authorization policies, written from Istio's reference and reading the
//! manifest as JSON. It shares no code with the mesh. The fuzz target `policies` has it too.

use std::net::IpAddr;

use galleria_mesh::inbound::Peer;
use serde_json::Value;

use super::Asked;

/// The rule of Istio: DENY, then ALLOW.
pub(super) fn is_allowed(policies: &[Value], asked: &Asked) -> bool {
    let of = |action: &str| {
        let action = action.to_owned();
        policies.iter().filter(move |spec| {
            spec.get("action")
                .and_then(Value::as_str)
                .unwrap_or("ALLOW")
                == action
        })
    };
    if of("DENY").any(|spec| matches(spec, asked)) {
        return false;
    }
    of("ALLOW").next().is_none() || of("ALLOW").any(|spec| matches(spec, asked))
}

fn matches(spec: &Value, asked: &Asked) -> bool {
    list(spec, "rules").iter().any(|rule| {
        let from = list(rule, "from");
        let to = list(rule, "to");
        (from.is_empty() || from.iter().any(|it| source(&it["source"], asked)))
            && (to.is_empty() || to.iter().any(|it| operation(&it["operation"], asked)))
            && list(rule, "when").iter().all(|it| condition(it, asked))
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A field and its negation.
fn field(object: &Value, name: &str, has: impl Fn(&str) -> bool) -> bool {
    let not_name = format!("not{}{}", name[..1].to_uppercase(), &name[1..]);
    let any = |name: &str| {
        list(object, name)
            .iter()
            .any(|it| has(it.as_str().expect("text")))
    };
    (list(object, name).is_empty() || any(name)) && !any(&not_name)
}

fn source(object: &Value, asked: &Asked) -> bool {
    field(object, "principals", |value| principal(value, asked))
        && field(object, "namespaces", |value| namespace(value, asked))
        && field(object, "ipBlocks", |value| {
            asked.source_ip.is_some_and(|ip| in_block(value, ip))
        })
        && field(object, "requestPrincipals", |value| {
            asked.principal.as_ref().is_some_and(|it| {
                let name = format!("{}/{}", it.issuer, it.subject);
                text(value, &name)
            })
        })
}

fn operation(object: &Value, asked: &Asked) -> bool {
    field(object, "hosts", |value| {
        text(&value.to_lowercase(), &asked.authority.to_lowercase())
    }) && field(object, "methods", |value| {
        text(value, asked.method.as_str())
    }) && field(object, "paths", |value| {
        if value.contains('{') {
            template(value, &asked.path)
        } else {
            text(value, &asked.path)
        }
    }) && field(object, "ports", |value| value == asked.port.to_string())
}

fn condition(object: &Value, asked: &Asked) -> bool {
    let key = object["key"].as_str().expect("text");
    let header = |name: &str, value: &str| {
        let actual = asked.headers.get(name).map(|it| it.to_str().expect("text"));
        actual.is_some_and(|actual| value == "*" || text(value, actual))
    };
    field(object, "values", |value| match key {
        "source.namespace" => namespace(value, asked),
        "source.principal" => principal(value, asked),
        "destination.port" => value == asked.port.to_string(),
        "request.headers[x]" => header("x", value),
        "request.auth.claims[group]" => {
            let claim = asked
                .principal
                .as_ref()
                .and_then(|it| it.claims.get("group"));
            match claim {
                Some(Value::String(it)) => text(value, it),
                Some(Value::Array(all)) => {
                    all.iter().any(|it| text(value, it.as_str().expect("text")))
                }
                _ => false,
            }
        }
        other => unreachable!("{other}"),
    })
}

fn text(pattern: &str, actual: &str) -> bool {
    if pattern == "*" {
        return !actual.is_empty();
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        return actual.ends_with(suffix);
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => actual.starts_with(prefix),
        None => actual == pattern,
    }
}

fn account(asked: &Asked) -> Option<(String, String)> {
    match &asked.peer {
        Peer::Named(it) => Some((it.namespace.clone(), it.service_account.clone())),
        Peer::Client { .. } => Some((
            "istio-system".into(),
            "istio-ingressgateway-service-account".into(),
        )),
        _ => None,
    }
}

fn principal(pattern: &str, asked: &Asked) -> bool {
    account(asked).is_some_and(|(ns, sa)| text(pattern, &format!("cluster.local/ns/{ns}/sa/{sa}")))
}

fn namespace(pattern: &str, asked: &Asked) -> bool {
    account(asked).is_some_and(|(ns, _)| text(pattern, &ns))
}

fn in_block(block: &str, ip: IpAddr) -> bool {
    let (network, length) = block.split_once('/').unwrap_or((block, "32"));
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(_) => unreachable!("only IPv4 here"),
    };
    let length: u32 = length.parse().expect("a length");
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    bits(ip) & mask == bits(network.parse().expect("an address")) & mask
}

/// By segments, without a regular expression.
fn template(pattern: &str, path: &str) -> bool {
    fn segments(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["{**}", rest @ ..] => (1..=path.len()).any(|taken| segments(rest, &path[taken..])),
            ["{*}", rest @ ..] => {
                path.first().is_some_and(|it| !it.is_empty()) && segments(rest, &path[1..])
            }
            [literal, rest @ ..] => path.first() == Some(literal) && segments(rest, &path[1..]),
        }
    }
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    segments(&pattern, &path)
}
