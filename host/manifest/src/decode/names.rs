//! Names with a grammar: DNS names and header names.

use super::{Decoder, string};
use crate::codes;
use crate::yaml::Node;

/// DNS-1123 label: lower-case letters, digits and `-`, at most 63.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// DNS-1123 subdomain: labels joined by dots, at most 253.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// The name of a label or an annotation: `[prefix/]name`, where the prefix is a DNS name and
/// the name has letters, digits, `-`, `_` and `.`, at most 63.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// The value of a label.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| inner(*b))
        && bytes.first().is_none_or(u8::is_ascii_alphanumeric)
        && bytes.last().is_none_or(u8::is_ascii_alphanumeric)
}

pub(crate) fn dns_label(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = string(d, node)?;
    if is_dns_label(&text) {
        return Some(text);
    }
    let shown = d.show(&text);
    let message = format!(
        "{shown} is not a valid name; use lower-case letters, digits and `-`, at most 63{}",
        corrected(&text, is_dns_label)
    );
    d.error(node.mark, codes::NAME, message);
    None
}

pub(crate) fn dns_subdomain(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = string(d, node)?;
    if is_dns_subdomain(&text) {
        return Some(text);
    }
    let shown = d.show(&text);
    let message = format!(
        "{shown} is not a valid name; use lower-case letters, digits, `-` and `.`, at most 253{}",
        corrected(&text, is_dns_subdomain)
    );
    d.error(node.mark, codes::NAME, message);
    None
}

/// A host name of Istio's: `*`, `*.example.com`, `*-a.example.com`, a DNS name, or a short name.
/// A trailing dot, which marks a name as absolute, is removed.
pub(crate) fn dns_name(d: &mut Decoder, node: &Node) -> Option<crate::WithPosition<String>> {
    let mut text = string(d, node)?;
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    if is_host_name(&text) {
        return Some(d.locate(text, node));
    }
    let shown = d.show(&text);
    let why = if text.is_empty() {
        "a host name must not be empty".to_owned()
    } else if text.contains("://") || text.contains('/') {
        format!("{shown} is not a host name; leave out scheme and path")
    } else if text.strip_prefix('*').unwrap_or(&text).contains('*') {
        format!("{shown}: `*` is only allowed at the beginning, as in `*.example.com`")
    } else if text.contains(':') {
        format!("{shown} is not a host name; leave out the port")
    } else if has_numeric_end(&text) {
        format!("{shown} is neither an address nor a host name, whose last label is not a number")
    } else {
        format!("{shown} is not a host name")
    };
    d.error(node.mark, codes::INVALID_VALUE, why);
    None
}

/// As [`dns_name`], but not an address: a destination has a name.
pub(crate) fn destination_name(
    d: &mut Decoder,
    node: &Node,
) -> Option<crate::WithPosition<String>> {
    let name = dns_name(d, node)?;
    if name.parse::<std::net::IpAddr>().is_ok() {
        let shown = d.show(&name);
        let message = format!(
            "{shown} is an address; use the name of a Service or of a ServiceEntry, whose \
             endpoints may have addresses"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(name)
}

/// The address of a listener.
pub(crate) fn bind_address(d: &mut Decoder, node: &Node) -> Option<()> {
    let text = string(d, node)?;
    let is_socket = text
        .strip_prefix("unix://")
        .is_some_and(|it| !it.is_empty());
    if !text.is_empty() && !is_socket && text.parse::<std::net::IpAddr>().is_err() {
        let shown = d.show(&text);
        let message = format!("{shown} is not an IP address");
        d.error(node.mark, codes::INVALID_VALUE, message);
    }
    Some(())
}

/// An IP address, or a network such as `10.0.0.0/8`.
pub(crate) fn network(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = string(d, node)?;
    if is_network(&text) {
        return Some(text);
    }
    let shown = d.show(&text);
    let message = format!("{shown} is neither an IP address nor a network such as `10.0.0.0/8`");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

/// Whether `*` replaces only the beginning of the first label, as in `*a.example.com`.
pub(crate) fn is_partial_wildcard(host: &str) -> bool {
    host.strip_prefix('*')
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'))
}

fn is_host_name(text: &str) -> bool {
    if text == "*" || text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_prefix('*').map_or(text, |rest| {
        let separated = rest.strip_prefix('.').or_else(|| rest.strip_prefix('-'));
        separated.unwrap_or(rest)
    });
    is_dns_subdomain(&name.to_ascii_lowercase()) && !has_numeric_end(text)
}

/// A name of several labels does not end with a number; only an address does.
fn has_numeric_end(text: &str) -> bool {
    text.rsplit_once('.')
        .is_some_and(|(_, last)| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the last label is a number: then the name is not a full host name.
pub(crate) fn ends_with_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
}

/// A DNS label in upper or lower case, as Istio allows for names of its own.
pub(crate) fn label_of_any_case(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = super::non_empty(d, node)?;
    if is_dns_label(&text.to_ascii_lowercase()) {
        return Some(text);
    }
    let shown = d.show(&text);
    let message = format!("{shown} is not a valid name; use letters, digits and `-`, at most 63");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

/// A header name in lower case. Pseudo headers (`:method`) are valid if `pseudo` is set.
pub(crate) fn header_name(
    d: &mut Decoder,
    name: &str,
    node: &Node,
    pseudo: bool,
) -> Option<String> {
    let bare = if pseudo {
        name.strip_prefix(':').unwrap_or(name)
    } else {
        name
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !bare.is_empty() && bare.bytes().all(token) {
        return Some(name.to_ascii_lowercase());
    }
    let shown = d.show(name);
    let message = format!("{shown} is not a header name; use letters, digits and `-`");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

/// The name in lower case and with `-` for other separators, as a suggestion.
fn corrected(text: &str, valid: impl Fn(&str) -> bool) -> String {
    let candidate = text.to_ascii_lowercase().replace(['_', ' '], "-");
    if valid(&candidate) && candidate != text {
        format!(", for example `{candidate}`")
    } else {
        String::new()
    }
}
