//! The conditions of a rule.

use std::borrow::Cow;
use std::net::IpAddr;

use galleria_manifest::model::{Attribute, AttributeMatch};
use ipnet::IpNet;
use regex::Regex;
use serde_json::Value;

use super::caller::Facts;
use super::header::{Effect, PolicyHeader};
use super::path_template;
use super::text::TextMatch;
use crate::compile::trust_domains::TrustDomains;
use crate::decide::condition::{HeaderKey, joined};
use crate::decide::request::without_final_dot;

/// An attribute of a request with the values that match, compiled.
///
/// An attribute that this host cannot know counts as matching in a rule that forbids, and
/// as not matching in a rule that allows, whatever its values.
#[derive(Debug)]
pub(crate) struct Condition {
    subject: Subject,
    values: Vec<ValueMatch>,
    not_values: Vec<ValueMatch>,
    /// What a match leads to: of `values`, and of `not_values`.
    effects: (Effect, Effect),
    /// Whether a match of the condition leads to a denial.
    forbids: bool,
    pub(super) source: AttributeMatch,
}

/// What a condition looks at.
#[derive(Debug)]
enum Subject {
    /// The SPIFFE ID of the caller.
    Identity,
    SourceIp,
    RemoteIp,
    RequestPrincipal,
    Audiences,
    Presenter,
    Claim(Vec<String>),
    Header(PolicyHeader),
    /// `:method` and others.
    PseudoHeader(HeaderKey),
    Host,
    Method,
    Path,
    Port,
    /// Of a connection that is not decrypted. Of requests the host does not know it.
    ServerName,
    /// It cannot be known.
    Unknown,
}

/// A value of a condition.
#[derive(Debug)]
enum ValueMatch {
    Text(TextMatch),
    /// Part of a SPIFFE ID.
    Contains(String),
    Pattern(Regex),
    Network(IpNet),
    Port(u16),
    Token {
        issuer: TextMatch,
        subject: TextMatch,
    },
}

impl Condition {
    /// `namespace` is that of the policy. `forbids` is whether a match leads to a denial.
    pub(crate) fn new(
        source: &AttributeMatch,
        namespace: &str,
        forbids: bool,
        trust_domains: &TrustDomains,
    ) -> Self {
        let attribute = &source.attribute;
        let compiled = |values: &[String]| {
            let values = trust_domains.expand(attribute, values);
            values
                .iter()
                .map(|value| ValueMatch::new(attribute, value, namespace))
                .collect::<Option<Vec<_>>>()
        };
        let (subject, values, not_values) =
            match (compiled(&source.values), compiled(&source.not_values)) {
                (Some(values), Some(not_values)) => (Subject::new(attribute), values, not_values),
                // The reader has refused such values, so this is never reached; it must not
                // open anything.
                _ => (Subject::Unknown, Vec::new(), Vec::new()),
            };
        Self {
            subject,
            values,
            not_values,
            effects: match forbids {
                true => (Effect::Refuses, Effect::Admits),
                false => (Effect::Admits, Effect::Refuses),
            },
            forbids,
            source: source.clone(),
        }
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        if !self.subject.is_known(facts) {
            return self.forbids;
        }
        let (effect, effect_of_not) = self.effects;
        (self.values.is_empty() || self.any(&self.values, facts, effect))
            && (self.not_values.is_empty() || !self.any(&self.not_values, facts, effect_of_not))
    }

    /// Whether no request can meet it, because the host does not know the attribute.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.subject, Subject::Unknown | Subject::ServerName)
    }

    /// Whether the request has one of `values`.
    fn any(&self, values: &[ValueMatch], facts: &Facts<'_>, effect: Effect) -> bool {
        let request = facts.request;
        let text = |text: Option<&str>| text.is_some_and(|it| any_text(values, it));
        match &self.subject {
            Subject::Identity => text(facts.spiffe_id()),
            Subject::SourceIp => facts.source_ip().is_some_and(|it| any_network(values, it)),
            Subject::RemoteIp => facts.remote_ip().is_some_and(|it| any_network(values, it)),
            Subject::RequestPrincipal => request.principal.is_some_and(|it| {
                let is_match = |value: &ValueMatch| value.is_token(&it.issuer, &it.subject);
                values.iter().any(is_match)
            }),
            Subject::Audiences => request
                .principal
                .is_some_and(|it| it.audiences.iter().any(|it| any_text(values, it))),
            Subject::Presenter => text(request.principal.and_then(|it| it.presenter.as_deref())),
            Subject::Claim(_) => match self.claim(facts) {
                Some(Value::String(it)) => any_text(values, it),
                Some(Value::Array(list)) => {
                    let mut texts = list.iter().filter_map(Value::as_str);
                    texts.any(|it| any_text(values, it))
                }
                _ => false,
            },
            Subject::Header(header) => {
                let headers = request.head.headers;
                header.any(headers, effect, |it| any_text(values, it))
            }
            Subject::PseudoHeader(HeaderKey::Authority) => {
                let host = request.head.authority;
                text(Some(host)) || text(Some(&without_final_dot(host)))
            }
            Subject::PseudoHeader(key) => text(key.value(&request.head).as_deref()),
            Subject::Host => {
                let host = request.head.authority;
                // A host with a final dot is routed as the one without it.
                let plain = without_final_dot(host);
                values.iter().any(|value| match value {
                    ValueMatch::Text(value) => {
                        value.matches_any_case(host) || value.matches_any_case(&plain)
                    }
                    _ => false,
                })
            }
            Subject::Method => text(Some(request.head.method.as_str())),
            Subject::Path => text(Some(request.head.path)),
            Subject::Port => values
                .iter()
                .any(|value| matches!(value, ValueMatch::Port(port) if *port == request.port)),
            Subject::ServerName => text(facts.connection.and_then(|it| it.server_name)),
            Subject::Unknown => false,
        }
    }

    fn claim<'a>(&self, facts: &Facts<'a>) -> Option<&'a Value> {
        let Subject::Claim(names) = &self.subject else {
            return None;
        };
        let (first, rest) = names.split_first()?;
        let claim = facts.request.principal?.claims.get(first)?;
        rest.iter().try_fold(claim, |claim, name| claim.get(name))
    }

    /// The request's value as text, for an explanation.
    pub(super) fn actual<'a>(&self, facts: &'a Facts<'a>) -> Option<Cow<'a, str>> {
        let request = facts.request;
        let principal = request.principal;
        let address = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string().into());
        match &self.subject {
            Subject::Identity => {
                let id = facts.spiffe_id();
                id.map(|id| id.strip_prefix("spiffe://").unwrap_or(id).into())
            }
            Subject::SourceIp => address(facts.source_ip()),
            Subject::RemoteIp => address(facts.remote_ip()),
            Subject::RequestPrincipal => principal.map(|it| it.name().into()),
            Subject::Audiences => principal.map(|it| it.audiences.join(",").into()),
            Subject::Presenter => principal?.presenter.as_deref().map(Cow::Borrowed),
            Subject::Claim(_) => self.claim(facts).map(|it| it.to_string().into()),
            Subject::Header(header) => joined(request.head.headers, &header.name),
            Subject::PseudoHeader(key) => key.value(&request.head),
            Subject::Host => Some(request.head.authority.into()),
            Subject::Method => Some(request.head.method.as_str().into()),
            Subject::Path => Some(request.head.path.into()),
            Subject::Port => Some(request.port.to_string().into()),
            Subject::ServerName => facts.connection?.server_name.map(Cow::Borrowed),
            Subject::Unknown => None,
        }
    }

    /// The keys of which a request has at least one, if it meets the condition; `None` if
    /// others can meet it too.
    pub(super) fn keys(&self) -> Option<Vec<Key<'_>>> {
        if self.values.is_empty() {
            return None;
        }
        let keys = self
            .values
            .iter()
            .map(|value| match (&self.subject, value) {
                (Subject::Path, ValueMatch::Text(TextMatch::Exact(path))) => Some(Key::Path(path)),
                (Subject::Path, ValueMatch::Text(TextMatch::Prefix(prefix))) => {
                    let end = prefix.rfind('/')?;
                    prefix.get(..=end).map(Key::PathPrefix)
                }
                (Subject::Identity, ValueMatch::Text(TextMatch::Exact(id))) => {
                    Some(Key::Identity(id))
                }
                _ => None,
            });
        keys.collect()
    }
}

/// A part of a request by which rules are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Path(&'a str),
    /// The beginning of a path, up to a slash.
    PathPrefix(&'a str),
    /// A SPIFFE ID.
    Identity(&'a str),
}

impl Subject {
    fn new(attribute: &Attribute) -> Self {
        match attribute {
            Attribute::SourcePrincipal
            | Attribute::SourceNamespace
            | Attribute::SourceServiceAccount
            | Attribute::SourceTrustDomain => Self::Identity,
            Attribute::SourceIp => Self::SourceIp,
            Attribute::RemoteIp => Self::RemoteIp,
            Attribute::RequestPrincipal => Self::RequestPrincipal,
            Attribute::RequestAudiences => Self::Audiences,
            Attribute::RequestPresenter => Self::Presenter,
            // In HTTP/2 terms, which Envoy uses, there is no `host`.
            Attribute::RequestHeader(name) if name == "host" => {
                Self::PseudoHeader(HeaderKey::Authority)
            }
            Attribute::RequestHeader(name) => match HeaderKey::new(name) {
                Some(HeaderKey::Name(name)) => Self::Header(PolicyHeader::new(name)),
                Some(key) => Self::PseudoHeader(key),
                None => Self::Unknown,
            },
            Attribute::RequestClaim(names) => Self::Claim(names.clone()),
            Attribute::Host => Self::Host,
            Attribute::Method => Self::Method,
            Attribute::Path => Self::Path,
            Attribute::DestinationPort => Self::Port,
            Attribute::ConnectionSni => Self::ServerName,
            Attribute::DestinationIp | Attribute::EnvoyFilter(_) => Self::Unknown,
        }
    }

    /// Of a connection that is not decrypted, only its ends and the requested name are known.
    fn is_known(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Unknown => false,
            Self::ServerName => facts.connection.is_some(),
            Self::Identity | Self::SourceIp | Self::RemoteIp | Self::Port => true,
            _ => facts.connection.is_none(),
        }
    }
}

impl ValueMatch {
    fn new(attribute: &Attribute, value: &str, namespace: &str) -> Option<Self> {
        Some(match attribute {
            Attribute::SourcePrincipal => Self::Text(TextMatch::after("spiffe://", value)),
            Attribute::SourceNamespace if value.contains('*') => {
                let pattern = regex::escape(value).replace("\\*", ".*");
                Self::Pattern(Regex::new(&format!("^.*/ns/{pattern}/.*$")).ok()?)
            }
            Attribute::SourceNamespace => Self::Contains(format!("/ns/{value}/")),
            Attribute::SourceServiceAccount => {
                let (namespace, name) = value.split_once('/').unwrap_or((namespace, value));
                let (namespace, name) = (regex::escape(namespace), regex::escape(name));
                let pattern = format!("^spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?$");
                Self::Pattern(Regex::new(&pattern).ok()?)
            }
            Attribute::SourceTrustDomain => {
                let pattern = regex::escape(value).replace("\\*", "[^/]*");
                let pattern = if value == "*" { "[^/]+" } else { &pattern };
                Self::Pattern(Regex::new(&format!("^spiffe://{pattern}/.*$")).ok()?)
            }
            Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
                let address = || value.parse::<IpAddr>().map(IpNet::from);
                Self::Network(value.parse().or_else(|_| address()).ok()?)
            }
            Attribute::DestinationPort => Self::Port(value.parse().ok()?),
            Attribute::RequestPrincipal => token(value),
            Attribute::Path if path_template::is_template(value) => {
                Self::Pattern(path_template::compile(value)?)
            }
            Attribute::RequestHeader(_) | Attribute::Host | Attribute::Method => {
                Self::Text(TextMatch::of_header(value))
            }
            Attribute::RequestAudiences
            | Attribute::RequestPresenter
            | Attribute::RequestClaim(_)
            | Attribute::Path
            | Attribute::ConnectionSni
            | Attribute::EnvoyFilter(_) => Self::Text(TextMatch::new(value)),
        })
    }

    fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Text(value) => value.matches(text),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Pattern(pattern) => pattern.is_match(text),
            Self::Network(_) | Self::Port(_) | Self::Token { .. } => false,
        }
    }

    fn is_token(&self, issuer_of_token: &str, subject_of_token: &str) -> bool {
        let Self::Token { issuer, subject } = self else {
            return false;
        };
        issuer.matches(issuer_of_token) && subject.matches(subject_of_token)
    }
}

/// `ISSUER/SUBJECT`. The issuer may be a URL, so the last slash separates them.
fn token(value: &str) -> ValueMatch {
    let exact = |text: &str| TextMatch::Exact(text.to_owned());
    let (issuer, subject) = match value.rsplit_once('/') {
        _ if value == "*" => (TextMatch::NotEmpty, TextMatch::NotEmpty),
        Some((issuer, subject)) if value.starts_with('*') => {
            (TextMatch::new(issuer), exact(subject))
        }
        Some((issuer, subject)) if value.ends_with('*') => (exact(issuer), TextMatch::new(subject)),
        Some((issuer, subject)) => (exact(issuer), exact(subject)),
        None if value.starts_with('*') => (TextMatch::NotEmpty, TextMatch::new(value)),
        None if value.ends_with('*') => (TextMatch::new(value), TextMatch::NotEmpty),
        None => (exact(value), exact("")),
    };
    ValueMatch::Token { issuer, subject }
}

fn any_text(values: &[ValueMatch], text: &str) -> bool {
    values.iter().any(|value| value.is_text(text))
}

fn any_network(values: &[ValueMatch], address: IpAddr) -> bool {
    let contains = |value: &ValueMatch| match value {
        ValueMatch::Network(network) => network.contains(&address),
        _ => false,
    };
    values.iter().any(contains)
}
