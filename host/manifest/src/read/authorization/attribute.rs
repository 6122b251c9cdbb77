//! The attributes that policies match, and the form of their values.

use std::net::IpAddr;

use super::path_template;
use crate::codes;
use crate::decode::{Decoder, did_you_mean, non_empty};
use crate::model::Attribute;
use crate::yaml::Node;

/// The keys of conditions, without those that have a name in brackets.
const KEYS: &[(&str, Attribute)] = &[
    ("source.ip", Attribute::SourceIp),
    ("remote.ip", Attribute::RemoteIp),
    ("source.namespace", Attribute::SourceNamespace),
    ("source.serviceAccount", Attribute::SourceServiceAccount),
    ("source.trustDomain", Attribute::SourceTrustDomain),
    ("source.principal", Attribute::SourcePrincipal),
    ("request.auth.principal", Attribute::RequestPrincipal),
    ("request.auth.audiences", Attribute::RequestAudiences),
    ("request.auth.presenter", Attribute::RequestPresenter),
    ("destination.ip", Attribute::DestinationIp),
    ("destination.port", Attribute::DestinationPort),
    ("connection.sni", Attribute::ConnectionSni),
];

const FILTERS: &str = "experimental.envoy.filters.";

/// The attribute of a condition's key, or what is wrong with the key.
pub(super) fn attribute_of(key: &str) -> Result<Attribute, String> {
    if let Some((_, attribute)) = KEYS.iter().find(|(known, _)| *known == key) {
        return Ok(attribute.clone());
    }
    let names = key.split_once('[').and_then(|(prefix, names)| {
        let names: Vec<_> = names.strip_suffix(']')?.split("][").collect();
        let valid = |name: &&str| !name.is_empty() && !name.contains(['[', ']']);
        names.iter().all(valid).then_some((prefix, names))
    });
    match names {
        Some(("request.headers", names)) => match names.as_slice() {
            [name] => return header(name),
            _ => return Err(format!("`{key}` names more than one header")),
        },
        Some(("request.auth.claims", names)) => {
            let names = names.into_iter().map(str::to_owned).collect();
            return Ok(Attribute::RequestClaim(names));
        }
        Some((filter, _)) if filter.starts_with(FILTERS) => {
            return Ok(Attribute::EnvoyFilter(key.to_owned()));
        }
        _ => {}
    }
    Err(match key {
        "request.headers" | "request.auth.claims" => {
            format!("`{key}` needs a name, as in `{key}[name]`")
        }
        "destination.namespace" => {
            format!("`{key}` was replaced by the namespace of the policy")
        }
        "destination.name" | "destination.user" => {
            format!("`{key}` exists only in a ServiceRole; use `selector`")
        }
        _ if key.starts_with("destination.labels") => {
            format!("`{key}` was replaced by `selector`")
        }
        _ => {
            let with_name = ["request.headers[name]", "request.auth.claims[name]"];
            let known = KEYS.iter().map(|(known, _)| *known).chain(with_name);
            format!(
                "`{key}` is not a known attribute{}",
                did_you_mean(key, known)
            )
        }
    })
}

fn header(name: &str) -> Result<Attribute, String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = name.strip_prefix(':').unwrap_or(name).bytes().all(valid);
    if !is_name {
        return Err(format!("`{name}` is not the name of a header"));
    }
    Ok(Attribute::RequestHeader(name.to_ascii_lowercase()))
}

/// A value to compare `attribute` with.
pub(super) fn value(d: &mut Decoder, node: &Node, attribute: &Attribute) -> Option<String> {
    let text = non_empty(d, node)?;
    let problem = match attribute {
        Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
            (!is_network(&text)).then(|| "is not an IP address or a CIDR range".to_owned())
        }
        Attribute::DestinationPort => text
            .parse::<u16>()
            .is_err()
            .then(|| "is not a port; use one number from 0 to 65535, in quotes".to_owned()),
        Attribute::SourceServiceAccount => service_account_problem(&text),
        Attribute::Path => path_template::problem(&text),
        _ => None,
    };
    let Some(problem) = problem else {
        return Some(text);
    };
    let shown = d.show(&text);
    d.error(
        node.mark,
        codes::INVALID_VALUE,
        format!("{shown} {problem}"),
    );
    None
}

fn service_account_problem(text: &str) -> Option<String> {
    if text.contains('*') {
        return Some("has a wildcard; a service account is compared as a whole".into());
    }
    let parts: Vec<_> = text.split('/').collect();
    let valid = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty());
    (!valid).then(|| "is not a service account; use NAME or NAMESPACE/NAME".into())
}

fn is_network(text: &str) -> bool {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| {
        length.bytes().all(|byte| byte.is_ascii_digit())
            && length.parse::<u8>().is_ok_and(|length| length <= longest)
    })
}
