//! The conditions of a match block. `route` tests them, and `explain` reports them one by
//! one.

use std::borrow::Cow;

use galleria_manifest::model::{Labels, StringMatch};
use http::HeaderMap;
use http::header::HeaderName;
use regex::Regex;

use super::claim::ClaimKey;
use super::query;
use crate::inbound::RequestPrincipal;
use crate::{RequestHead, Workload};

/// What a condition is tested against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatchContext<'a> {
    pub(crate) request: &'a RequestHead<'a>,
    /// The listener's port at the edge, the addressed port in the mesh.
    pub(crate) port: u16,
    /// `None` at the edge.
    pub(crate) workload: Option<&'a Workload>,
    /// The verified token, at a gateway.
    pub(crate) principal: Option<&'a RequestPrincipal>,
}

/// One condition of `http[].match[]`.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Uri(UriMatch),
    Scheme(StringMatch),
    Method(StringMatch),
    Authority(StringMatch),
    Header(HeaderKey, StringMatch),
    WithoutHeader(HeaderKey, StringMatch),
    Claim(ClaimKey, StringMatch),
    WithoutClaim(ClaimKey, StringMatch),
    QueryParameter(String, StringMatch),
    Port(u16),
    SourceLabels(Labels),
    SourceNamespace(String),
}

/// `match[].uri` and the paths of an Ingress.
#[derive(Debug, Clone)]
pub(crate) enum UriMatch {
    Exact(String),
    Prefix(String),
    /// Lower case.
    ExactIgnoringCase(String),
    /// Lower case.
    PrefixIgnoringCase(String),
    /// Must match the whole path.
    Regex {
        pattern: String,
        regex: Regex,
    },
    /// The prefix of an Ingress or HTTPRoute: by path element, without a trailing slash.
    /// `/ui` matches `/ui` and `/ui/a`, but not `/uix`.
    Element(String),
}

/// The name of a header, or a pseudo-header of the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderKey {
    Name(HeaderName),
    Method,
    Authority,
    Scheme,
    Path,
}

impl Condition {
    pub(crate) fn holds(&self, context: &MatchContext<'_>) -> bool {
        let request = context.request;
        match self {
            Self::Uri(uri) => uri.matches(request.path),
            Self::Scheme(scheme) => scheme.matches(request.scheme),
            Self::Method(method) => method.matches(request.method.as_str()),
            Self::Authority(authority) => authority.matches(request.authority),
            Self::Header(key, value) => key
                .value(request)
                .is_some_and(|actual| matches(value, &actual)),
            // An absent header is compared as empty text, as in Envoy.
            Self::WithoutHeader(key, value) => match key.value(request) {
                Some(actual) => !matches(value, &actual),
                None => is_presence(value) || !value.matches(""),
            },
            Self::Claim(key, value) => key.matches(context.principal, value),
            Self::WithoutClaim(key, value) => !key.matches(context.principal, value),
            Self::QueryParameter(name, value) => request
                .query
                .and_then(|query| query::value(query, name))
                .is_some_and(|actual| matches(value, actual)),
            Self::Port(port) => context.port == *port,
            Self::SourceLabels(labels) => context.workload.is_some_and(|workload| {
                labels
                    .iter()
                    .all(|(key, value)| workload.labels.get(key) == Some(value))
            }),
            Self::SourceNamespace(namespace) => context
                .workload
                .is_some_and(|workload| workload.namespace == *namespace),
        }
    }

    /// Whether every request meets it.
    pub(crate) fn is_vacuous(&self) -> bool {
        match self {
            Self::Uri(uri) => uri.matches_everything(),
            _ => false,
        }
    }

    /// Whether the port and the caller decide it. Istio does so when it makes a proxy's
    /// configuration.
    pub(crate) fn is_known_before(&self) -> bool {
        matches!(
            self,
            Self::Port(_) | Self::SourceLabels(_) | Self::SourceNamespace(_)
        )
    }

    /// The name of the field in Istio.
    pub(crate) fn field(&self) -> Cow<'static, str> {
        match self {
            Self::Uri(_) => "uri".into(),
            Self::Scheme(_) => "scheme".into(),
            Self::Method(_) => "method".into(),
            Self::Authority(_) => "authority".into(),
            Self::Header(key, _) => format!("header {}", key.name()).into(),
            Self::WithoutHeader(key, _) => format!("without header {}", key.name()).into(),
            Self::Claim(key, _) => format!("header {}", key.name()).into(),
            Self::WithoutClaim(key, _) => format!("without header {}", key.name()).into(),
            Self::QueryParameter(name, _) => format!("query parameter {name}").into(),
            Self::Port(_) => "port".into(),
            Self::SourceLabels(_) => "source labels".into(),
            Self::SourceNamespace(_) => "source namespace".into(),
        }
    }

    /// The expected value: `prefix /ui`, `exact metamagic`.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Uri(uri) => uri.describe(),
            Self::Scheme(text)
            | Self::Method(text)
            | Self::Authority(text)
            | Self::Header(_, text)
            | Self::WithoutHeader(_, text)
            | Self::Claim(_, text)
            | Self::WithoutClaim(_, text)
            | Self::QueryParameter(_, text) => describe(text),
            Self::Port(port) => port.to_string(),
            Self::SourceLabels(labels) => {
                let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
                pairs.collect::<Vec<_>>().join(",")
            }
            Self::SourceNamespace(namespace) => namespace.clone(),
        }
    }

    /// The request's value; `None` if the request has none.
    pub(crate) fn actual(&self, context: &MatchContext<'_>) -> Option<String> {
        let request = context.request;
        match self {
            Self::Uri(_) => Some(request.path.to_owned()),
            Self::Scheme(_) => Some(request.scheme.to_owned()),
            Self::Method(_) => Some(request.method.to_string()),
            Self::Authority(_) => Some(request.authority.to_owned()),
            Self::Header(key, _) | Self::WithoutHeader(key, _) => {
                key.value(request).map(Cow::into_owned)
            }
            Self::Claim(key, _) | Self::WithoutClaim(key, _) => key.shown(context.principal),
            Self::QueryParameter(name, _) => request
                .query
                .and_then(|query| query::value(query, name))
                .map(str::to_owned),
            Self::Port(_) => Some(context.port.to_string()),
            Self::SourceLabels(_) => context.workload.map(|workload| {
                let pairs = workload
                    .labels
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"));
                pairs.collect::<Vec<_>>().join(",")
            }),
            Self::SourceNamespace(_) => context.workload.map(|workload| workload.namespace.clone()),
        }
    }

    /// Whether every request that meets `other` also meets this condition.
    pub(crate) fn is_implied_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Uri(this), Self::Uri(other)) => this.is_implied_by(other),
            (Self::Header(key, this), Self::Header(other_key, other))
            | (Self::WithoutHeader(key, this), Self::WithoutHeader(other_key, other)) => {
                key == other_key && same(this, other)
            }
            (Self::Claim(key, this), Self::Claim(other_key, other))
            | (Self::WithoutClaim(key, this), Self::WithoutClaim(other_key, other)) => {
                key == other_key && same(this, other)
            }
            (Self::QueryParameter(name, this), Self::QueryParameter(other_name, other)) => {
                name == other_name && same(this, other)
            }
            (Self::Scheme(this), Self::Scheme(other))
            | (Self::Method(this), Self::Method(other))
            | (Self::Authority(this), Self::Authority(other)) => same(this, other),
            (Self::Port(this), Self::Port(other)) => this == other,
            (Self::SourceLabels(this), Self::SourceLabels(other)) => this == other,
            (Self::SourceNamespace(this), Self::SourceNamespace(other)) => this == other,
            _ => false,
        }
    }
}

impl UriMatch {
    pub(crate) fn new(uri: &StringMatch, ignore_case: bool) -> Option<Self> {
        Some(match uri {
            StringMatch::Exact(text) if ignore_case => {
                Self::ExactIgnoringCase(text.to_ascii_lowercase())
            }
            StringMatch::Prefix(text) if ignore_case => {
                Self::PrefixIgnoringCase(text.to_ascii_lowercase())
            }
            StringMatch::Exact(text) => Self::Exact(text.clone()),
            StringMatch::Prefix(text) => Self::Prefix(text.clone()),
            StringMatch::PathPrefix(text) => Self::Element(text.clone()),
            StringMatch::Regex { pattern, regex } => Self::Regex {
                pattern: pattern.clone(),
                regex: regex.clone(),
            },
            StringMatch::Present => return None,
        })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::ExactIgnoringCase(text) => path.eq_ignore_ascii_case(text),
            Self::PrefixIgnoringCase(prefix) => path
                .as_bytes()
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Regex { regex, .. } => regex.is_match(path),
            Self::Element(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    /// The length of the part of a path that this match covers; `None` is the whole path.
    pub(crate) fn matched_length(&self) -> Option<usize> {
        match self {
            Self::Prefix(prefix) | Self::PrefixIgnoringCase(prefix) | Self::Element(prefix) => {
                Some(prefix.len())
            }
            Self::Exact(_) | Self::ExactIgnoringCase(_) | Self::Regex { .. } => None,
        }
    }

    /// `/` or `.*`, and no other text for the same.
    pub(crate) fn is_plain_catch_all(&self) -> bool {
        match self {
            Self::Prefix(prefix) | Self::PrefixIgnoringCase(prefix) => prefix == "/",
            Self::Element(prefix) => prefix.is_empty(),
            Self::Regex { pattern, .. } => pattern == ".*",
            Self::Exact(_) | Self::ExactIgnoringCase(_) => false,
        }
    }

    fn matches_everything(&self) -> bool {
        match self {
            Self::Prefix(prefix) | Self::PrefixIgnoringCase(prefix) => {
                prefix.is_empty() || prefix == "/"
            }
            Self::Element(prefix) => prefix.is_empty(),
            Self::Regex { pattern, .. } => {
                matches!(pattern.as_str(), ".*" | "/.*" | "^.*$" | "^/.*$" | "*")
            }
            Self::Exact(_) | Self::ExactIgnoringCase(_) => false,
        }
    }

    fn is_implied_by(&self, other: &Self) -> bool {
        if self.matches_everything() {
            return true;
        }
        match (self, other) {
            (_, Self::Exact(path)) => self.matches(path),
            (Self::Prefix(prefix), Self::Prefix(longer) | Self::Element(longer)) => {
                longer.starts_with(prefix.as_str())
            }
            (Self::Element(prefix), Self::Element(longer)) => {
                Self::Element(prefix.clone()).matches(longer)
            }
            (
                Self::PrefixIgnoringCase(prefix),
                Self::PrefixIgnoringCase(longer) | Self::ExactIgnoringCase(longer),
            ) => longer.starts_with(prefix.as_str()),
            (Self::ExactIgnoringCase(this), Self::ExactIgnoringCase(other)) => this == other,
            (Self::Regex { pattern, .. }, Self::Regex { pattern: other, .. }) => pattern == other,
            _ => false,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Exact(text) => format!("exact {text}"),
            Self::Prefix(text) => format!("prefix {text}"),
            Self::ExactIgnoringCase(text) => format!("exact {text} (any case)"),
            Self::PrefixIgnoringCase(text) => format!("prefix {text} (any case)"),
            Self::Regex { pattern, .. } => format!("regex {pattern}"),
            Self::Element(text) if text.is_empty() => "path prefix /".into(),
            Self::Element(text) => format!("path prefix {text}"),
        }
    }
}

impl HeaderKey {
    /// `None` if the name is not a valid header name; such a condition never matches.
    pub(crate) fn new(name: &str) -> Option<Self> {
        Some(match name {
            ":method" => Self::Method,
            ":authority" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":path" => Self::Path,
            name => Self::Name(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }

    pub(crate) fn value<'a>(&self, request: &RequestHead<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Name(name) => joined(request.headers, name),
            Self::Method => Some(request.method.as_str().into()),
            Self::Authority => Some(request.authority.into()),
            Self::Scheme => Some(request.scheme.into()),
            Self::Path => Some(match request.query {
                Some(query) => format!("{}?{query}", request.path).into(),
                None => request.path.into(),
            }),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Name(name) => name.as_str(),
            Self::Method => ":method",
            Self::Authority => ":authority",
            Self::Scheme => ":scheme",
            Self::Path => ":path",
        }
    }
}

/// The value of a header. Several values are joined by a comma.
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter();
    let mut text = String::from_utf8_lossy(values.next()?.as_bytes());
    for value in values {
        let text = text.to_mut();
        text.push(',');
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(text)
}

/// `regex: "*"` is the old notation of Istio for a header that is present.
fn is_presence(value: &StringMatch) -> bool {
    match value {
        StringMatch::Present => true,
        StringMatch::Regex { pattern, .. } => pattern == "*",
        _ => false,
    }
}

fn matches(value: &StringMatch, actual: &str) -> bool {
    is_presence(value) || value.matches(actual)
}

fn same(this: &StringMatch, other: &StringMatch) -> bool {
    match (this, other) {
        (StringMatch::Exact(this), StringMatch::Exact(other)) => this == other,
        (StringMatch::Prefix(prefix), StringMatch::Prefix(other) | StringMatch::Exact(other)) => {
            other.starts_with(prefix.as_str())
        }
        (StringMatch::Regex { pattern, .. }, StringMatch::Regex { pattern: other, .. }) => {
            pattern == other
        }
        (StringMatch::Present, StringMatch::Present) => true,
        _ => false,
    }
}

fn describe(text: &StringMatch) -> String {
    match text {
        StringMatch::Exact(text) => format!("exact {text}"),
        StringMatch::Prefix(text) => format!("prefix {text}"),
        StringMatch::PathPrefix(text) => format!("path prefix {text}"),
        StringMatch::Regex { pattern, .. } => format!("regex {pattern}"),
        StringMatch::Present => "present".into(),
    }
}
