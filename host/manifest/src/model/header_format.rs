//! Envoy's substitutions in the values of headers, such as `%REQ(x-user?x-id):8%`.
//!
//! The operators and their syntax are those that Envoy 1.40 accepts in the headers of routes. It
//! refuses the whole configuration where one is wrong, so each of these is an error.

use std::iter;

/// A part of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderPart {
    Text(String),
    Value {
        operator: Operator,
        /// The maximum number of bytes.
        length: Option<usize>,
    },
}

/// What a part is replaced by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// `REQ`: a header of the request, or else the alternative.
    RequestHeader(String, Option<String>),
    /// `RESP`.
    ResponseHeader(String, Option<String>),
    /// `PATH`
    Path {
        original: Option<bool>,
        with_query: bool,
    },
    /// `QUERY_PARAM`
    QueryParameter(String),
    Protocol,
    ResponseCode,
    ResponseFlags,
    UpstreamCluster,
    RouteName,
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`, and the variant with `DIRECT`.
    RemoteAddress,
    /// `DOWNSTREAM_LOCAL_PORT`
    LocalPort,
    /// `START_TIME`, with its format; empty for the default one.
    StartTime(String),
    TraceId,
    /// An operator of Envoy for which this host has no value: it is replaced by nothing.
    NoValue,
}

/// Whether an operator has arguments in parentheses.
#[derive(Clone, Copy, PartialEq)]
enum Arguments {
    None,
    Optional,
    Required,
}

/// Operators with arguments. The flag says whether a length can follow.
const WITH_ARGUMENTS: &[(&str, Arguments, bool)] = &[
    ("REQ", Arguments::Required, true),
    ("RESP", Arguments::Required, true),
    ("TRAILER", Arguments::Required, true),
    ("QUERY_PARAM", Arguments::Required, true),
    ("PATH", Arguments::Optional, true),
    ("START_TIME", Arguments::Optional, false),
    ("START_TIME_LOCAL", Arguments::Optional, false),
    ("EMIT_TIME", Arguments::Optional, false),
    ("EMIT_TIME_LOCAL", Arguments::Optional, false),
    ("ENVIRONMENT", Arguments::Required, true),
    ("DYNAMIC_METADATA", Arguments::Required, true),
    ("CLUSTER_METADATA", Arguments::Required, true),
    ("UPSTREAM_METADATA", Arguments::Required, true),
    ("METADATA", Arguments::Required, true),
    ("FILTER_STATE", Arguments::Required, true),
    ("UPSTREAM_FILTER_STATE", Arguments::Required, true),
    ("PER_REQUEST_STATE", Arguments::Required, true),
    ("COMMON_DURATION", Arguments::Required, false),
    ("GRPC_STATUS", Arguments::Optional, false),
    ("DOWNSTREAM_PEER_CERT_V_START", Arguments::Optional, false),
    ("DOWNSTREAM_PEER_CERT_V_END", Arguments::Optional, false),
    ("UPSTREAM_PEER_CERT_V_START", Arguments::Optional, false),
    ("UPSTREAM_PEER_CERT_V_END", Arguments::Optional, false),
];

/// Operators without arguments for which this host has no value.
const WITHOUT_VALUE: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// The parts of a header's value.
///
/// # Errors
/// What Envoy would refuse, as a message.
pub fn header_parts(value: &str) -> Result<Vec<HeaderPart>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(escaped) = after.strip_prefix('%') {
            text.push('%');
            rest = escaped;
            continue;
        }
        if !text.is_empty() {
            parts.push(HeaderPart::Text(std::mem::take(&mut text)));
        }
        let (part, after) = part(after)?;
        parts.push(part);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(HeaderPart::Text(text));
    }
    Ok(parts)
}

/// The part after a percent sign, and what follows it.
fn part(text: &str) -> Result<(HeaderPart, &str), String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let unescaped = || {
        "`%` begins a substitution such as `%REQ(x-user)%`; write `%%` for the sign itself"
            .to_owned()
    };
    if name.is_empty() {
        return Err(unescaped());
    }
    let (arguments, rest) = match rest.strip_prefix('(') {
        Some(rest) => match rest.split_once(')') {
            Some((arguments, rest)) => (Some(arguments), rest),
            None => return Err(format!("the parenthesis of `%{name}(` is not closed")),
        },
        None => (None, rest),
    };
    let (length, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (digits, rest) = rest.split_at(end);
            if digits.is_empty() {
                return Err(format!("the length of `%{name}` must be a number"));
            }
            (Some(digits.parse().unwrap_or(usize::MAX)), rest)
        }
        None => (None, rest),
    };
    let Some(rest) = rest.strip_prefix('%') else {
        return Err(match arguments {
            None => unescaped(),
            Some(_) => format!("`%{name}(…)` must end with `%`"),
        });
    };
    check(name, arguments, length)?;
    let operator = operator(name, arguments.unwrap_or_default())?;
    Ok((HeaderPart::Value { operator, length }, rest))
}

/// Whether Envoy has the operator, in this form.
fn check(name: &str, arguments: Option<&str>, length: Option<usize>) -> Result<(), String> {
    let known = WITH_ARGUMENTS.iter().find(|(known, ..)| *known == name);
    let (takes, takes_length) = match known {
        Some((_, takes, length)) => (*takes, *length),
        None if has_value(name) || WITHOUT_VALUE.contains(&name) => (Arguments::None, false),
        None => return Err(format!("Envoy has no substitution `%{name}%`")),
    };
    if takes == Arguments::None && arguments.is_some() {
        return Err(format!("`%{name}%` takes nothing in parentheses"));
    }
    if takes == Arguments::Required && arguments.is_none_or(str::is_empty) {
        return Err(format!("`%{name}%` needs a name in parentheses"));
    }
    if length.is_some() && !takes_length {
        return Err(format!("`%{name}%` takes no length"));
    }
    Ok(())
}

fn has_value(name: &str) -> bool {
    matches!(
        name,
        "PROTOCOL"
            | "RESPONSE_CODE"
            | "RESPONSE_FLAGS"
            | "UPSTREAM_CLUSTER"
            | "UPSTREAM_CLUSTER_RAW"
            | "ROUTE_NAME"
            | "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_LOCAL_PORT"
            | "DOWNSTREAM_DIRECT_LOCAL_PORT"
            | "TRACE_ID"
    )
}

fn operator(name: &str, arguments: &str) -> Result<Operator, String> {
    Ok(match name {
        "REQ" => {
            let (first, other) = header_choice(arguments)?;
            Operator::RequestHeader(first, other)
        }
        "RESP" => {
            let (first, other) = header_choice(arguments)?;
            Operator::ResponseHeader(first, other)
        }
        "TRAILER" => {
            header_choice(arguments)?;
            Operator::NoValue
        }
        "QUERY_PARAM" => Operator::QueryParameter(arguments.to_owned()),
        "PATH" => path(arguments)?,
        "PROTOCOL" => Operator::Protocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_FLAGS" => Operator::ResponseFlags,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Operator::UpstreamCluster,
        "ROUTE_NAME" => Operator::RouteName,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::RemoteAddress,
        "DOWNSTREAM_LOCAL_PORT" | "DOWNSTREAM_DIRECT_LOCAL_PORT" => Operator::LocalPort,
        "START_TIME" => Operator::StartTime(arguments.to_owned()),
        "TRACE_ID" => Operator::TraceId,
        _ => Operator::NoValue,
    })
}

/// `HEADER` or `HEADER?ALTERNATIVE`, in lower case.
fn header_choice(arguments: &str) -> Result<(String, Option<String>), String> {
    let mut names = arguments.split('?');
    let first = names.next().unwrap_or_default();
    let other = names.next();
    if names.next().is_some() {
        return Err(format!("`{arguments}` has more than one alternative"));
    }
    for name in iter::once(first).chain(other) {
        let bare = name.strip_prefix(':').unwrap_or(name);
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
        if bare.is_empty() || !bare.bytes().all(is_token) {
            return Err(format!("`{name}` is not the name of a header"));
        }
    }
    Ok((
        first.to_ascii_lowercase(),
        other.map(str::to_ascii_lowercase),
    ))
}

/// `WQ` or `NQ` for with or without the query, then `ORIG`, `PATH` or `ORIG_OR_PATH`.
fn path(arguments: &str) -> Result<Operator, String> {
    let (query, which) = arguments.split_once(':').unwrap_or((arguments, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(format!("`{other}` is not WQ or NQ")),
    };
    let original = match which {
        "" | "ORIG_OR_PATH" => None,
        "ORIG" => Some(true),
        "PATH" => Some(false),
        other => return Err(format!("`{other}` is not ORIG, PATH or ORIG_OR_PATH")),
    };
    Ok(Operator::Path {
        original,
        with_query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_accepts_these_values() {
        for value in [
            "",
            "plain",
            "%%",
            "100%%",
            "%REQ(a)%",
            "%REQ(a?b):3%",
            "a%REQ(:PATH)%b",
            "%PATH%",
            "%PATH(NQ:PATH)%",
            "%START_TIME%",
            "%START_TIME()%",
            "%START_TIME(%Y/%m:%3f)%",
            "%START_TIME(abc)%",
            "%QUERY_PARAM(a):3%",
            "%TRAILER(a)%",
            "%ENVIRONMENT(HOME)%",
            "%UPSTREAM_METADATA([\"a\",\"b\"])%",
            "%UPSTREAM_HOST%",
            "%REQ(a):99999999999%",
            "a%%%PROTOCOL%",
        ] {
            assert!(
                header_parts(value).is_ok(),
                "{value}: {:?}",
                header_parts(value)
            );
        }
    }

    #[test]
    fn envoy_refuses_these_values() {
        for value in [
            "50%",
            "%",
            "%%%",
            "% x",
            "%UNKNOWN%",
            "%REQ%",
            "%REQ()%",
            "%REQ(a",
            "%REQ(a)",
            "%REQ(a)x%",
            "%REQ(a):x%",
            "%REQ(a):-1%",
            "%REQ(a?b?c)%",
            "%PROTOCOL(a)%",
            "%START_TIME:3%",
            "%RESPONSE_CODE:2%",
            "%protocol%",
            "%PROTOCOL",
            "% PROTOCOL%",
            "%REQ( a )%",
            "%START_TIME(%Y",
            "%ENVIRONMENT()%",
            "%HOSTNAME(x)%",
            "%ROUTE_NAME():3%",
            "%REQ(a b)%",
            "%a%%b%",
            "%START_TIME(%s)",
            "%COOKIE(c)%",
            "%DOWNSTREAM_REMOTE_ADDRESS():3%",
            "%BYTES_RECEIVED:2%",
            "%VIRTUAL_HOST_NAME%",
        ] {
            assert!(header_parts(value).is_err(), "{value}");
        }
    }
}
