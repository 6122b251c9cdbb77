//! Where a request can have a token.

use std::borrow::Cow;

use galleria_manifest::model::JwtRule;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, Uri};

use crate::RequestHead;
use crate::decide::condition::joined;
use crate::inbound::authorization::header::is_joined;

/// The places of the tokens of one issuer, each in alphabetical order, as in Envoy.
#[derive(Debug)]
pub(super) struct Locations {
    headers: Vec<(HeaderName, String)>,
    params: Vec<String>,
    cookies: Vec<String>,
}

/// A token of a request, and its place.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) place: Place<'a>,
}

/// What is removed from a request whose token is not forwarded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Header(&'a HeaderName),
    Param(&'a str),
    /// Cookies stay, as in Envoy.
    Cookie,
}

impl Locations {
    pub(super) fn new(rule: &JwtRule) -> Self {
        let headers = rule.from_headers.iter().filter_map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, header.prefix.clone()))
        });
        let mut locations = Self {
            headers: headers.collect(),
            params: rule.from_params.clone(),
            cookies: rule.from_cookies.clone(),
        };
        if rule.from_headers.is_empty()
            && rule.from_params.is_empty()
            && rule.from_cookies.is_empty()
        {
            locations.headers = vec![(AUTHORIZATION, "Bearer ".to_owned())];
            locations.params = vec!["access_token".to_owned()];
        }
        let key = |(name, prefix): &(HeaderName, String)| format!("{name}{prefix}");
        locations.headers.sort_by_key(key);
        locations.headers.dedup();
        for names in [&mut locations.params, &mut locations.cookies] {
            names.sort();
            names.dedup();
        }
        locations
    }

    /// The tokens of a request, in the order of the places.
    pub(super) fn find<'a>(&'a self, head: &RequestHead<'a>) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        for (name, prefix) in &self.headers {
            let place = Place::Header(name);
            let values = values(head.headers, name);
            let texts = values.filter_map(|value| after(value, prefix));
            found.extend(texts.map(|text| Found { text, place }));
        }
        for name in &self.params {
            let pairs = head.query.unwrap_or_default().split('&');
            let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            if let Some((_, value)) = pairs.find(|(key, _)| percent_decoded(key) == *name) {
                let place = Place::Param(name);
                let text = percent_decoded(value);
                found.push(Found { text, place });
            }
        }
        for name in &self.cookies {
            if let Some(text) = cookie(head, name) {
                let place = Place::Cookie;
                found.push(Found { text, place });
            }
        }
        found
    }
}

/// The values of a header in which tokens are. Of a header that Envoy joins, that is one value,
/// which is no token if it has two.
fn values<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let (whole, each) = match is_joined(name) {
        true => (joined(headers, name), None),
        false => (None, Some(headers.get_all(name))),
    };
    let each = each.into_iter().flatten();
    let each = each.map(|value| String::from_utf8_lossy(value.as_bytes()));
    whole.into_iter().chain(each)
}

/// The token behind `prefix`: from its first character that a token can have.
fn after<'a>(value: Cow<'a, str>, prefix: &str) -> Option<Cow<'a, str>> {
    if prefix.is_empty() {
        return Some(value);
    }
    let rest = value.find(prefix)? + prefix.len();
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let Some(start) = value.get(rest..).and_then(|rest| rest.find(is_of_token)) else {
        return Some(value);
    };
    Some(match value {
        Cow::Borrowed(value) => value.get(rest + start..).unwrap_or_default().into(),
        Cow::Owned(mut value) => value.split_off(rest + start).into(),
    })
}

/// The first cookie of this name, without quotes.
fn cookie<'a>(head: &RequestHead<'a>, name: &str) -> Option<Cow<'a, str>> {
    let headers = head.headers.get_all(COOKIE).iter();
    let mut pairs = headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim_start().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let value = value.trim_end();
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    Some(quoted.unwrap_or(value).into())
}

/// Removes the parameter `name` from the query.
pub(super) fn remove_param(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else {
        return;
    };
    let kept = query.split('&').filter(|pair| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        percent_decoded(key) != name
    });
    let kept = kept.collect::<Vec<_>>().join("&");
    let path_and_query = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{kept}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path_and_query.parse().ok();
    // The parts are those of a valid URI, and so is a query with fewer parameters.
    if let Ok(changed) = Uri::from_parts(parts) {
        *uri = changed;
    }
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}
