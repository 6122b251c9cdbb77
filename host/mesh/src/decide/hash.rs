//! The key of consistent hashing: which part of a request is hashed
//! (`loadBalancer.consistentHash`).

use std::time::Duration;

use galleria_manifest::model::HashKey;
use http::HeaderValue;
use http::header::COOKIE;
use rand::Rng;

use super::query;
use crate::RequestHead;
use crate::traffic::balance::hash_bytes;

/// The hash of the key, and the cookie to set if the mesh generated it.
pub(crate) struct RequestHash {
    pub(crate) hash: u64,
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// `None` if the request does not have the key: any endpoint can serve it.
pub(crate) fn hash_request(
    key: &HashKey,
    request: &RequestHead<'_>,
    rng: &mut impl Rng,
) -> Option<RequestHash> {
    let found = |hash| {
        Some(RequestHash {
            hash,
            set_cookie: None,
        })
    };
    match key {
        HashKey::Header(name) => {
            let mut values = request.headers.get_all(name).iter().peekable();
            values.peek()?;
            found(hash_bytes(values.map(HeaderValue::as_bytes)))
        }
        HashKey::SourceIp => {
            let text = request.source_ip?.to_string();
            found(hash_bytes([text.as_bytes()]))
        }
        HashKey::QueryParameter(name) => {
            let value = query::value(request.query?, name)?;
            found(hash_bytes([value.as_bytes()]))
        }
        HashKey::Cookie { name, path, ttl } => match cookie(request, name) {
            Some(value) => found(hash_bytes([value.as_bytes()])),
            None => {
                let value = format!("{:016x}", rng.random::<u64>());
                let header = set_cookie(name, &value, path.as_deref(), (*ttl)?);
                Some(RequestHash {
                    hash: hash_bytes([value.as_bytes()]),
                    set_cookie: header,
                })
            }
        },
    }
}

/// The value of a cookie in the request, without quotes.
pub(crate) fn cookie<'a>(request: &RequestHead<'a>, name: &str) -> Option<&'a str> {
    let lines = request
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().trim_matches('"'))
}

/// In Envoy's notation. With a TTL of zero it is a session cookie.
fn set_cookie(name: &str, value: &str, path: Option<&str>, ttl: Duration) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if let Some(path) = path {
        text.push_str(&format!("; Path={path}"));
    }
    text.push_str("; HttpOnly");
    HeaderValue::from_str(&text).ok()
}
