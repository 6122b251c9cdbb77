//! HTTPRoute: parents, hostnames, and rules in the form of a VirtualService.

use std::time::Duration;

use super::filter::{self, Filters};
use super::matches;
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, dns_label, dns_name, duration, integer, located, non_empty, port,
};
use crate::model::{
    Backend, Destination, DirectResponse, GatewayApiHttpRoute, HttpMatch, HttpRoute, MatchedRule,
    ParentKind, Resource, Retries, RouteDestination, RouteParent,
};
use crate::yaml::Node;

/// Retries of a rule that does not set `attempts`.
const ATTEMPTS: u32 = 2;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let route = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let parents = spec.list("parentRefs", parent);
        if !spec.has("parentRefs") {
            let message = "it is not attached to anything: name a Gateway in `parentRefs`";
            let mark = spec.mark;
            spec.d.warning(mark, codes::MISSING_FIELD, message);
        }
        let hostnames = spec.list("hostnames", dns_name);
        let rules = spec.list("rules", rule);
        spec.finish(&["useDefaultGateways"]);
        let rules = rules.into_iter().enumerate();
        let rules = rules.flat_map(|(index, rule)| rule.one_for_each_match(index));
        Some(GatewayApiHttpRoute {
            parents,
            hostnames,
            rules: rules.collect(),
        })
    });
    // Written by a cluster.
    fields.ignore(&["status"]);
    fields.finish(&[]);
    route.map(Resource::GatewayApiHttpRoute)
}

fn parent(d: &mut Decoder, node: &Node) -> Option<RouteParent> {
    let mut fields = Fields::of(d, node)?;
    let group = fields.optional("group", crate::decode::string);
    let kind = fields.optional("kind", non_empty);
    let name = fields.required("name", crate::decode::located_string);
    let namespace = fields.optional("namespace", dns_label);
    let section = fields.optional("sectionName", non_empty);
    let port = fields.optional("port", port);
    let kind = match (group.as_deref(), kind.as_deref()) {
        (None | Some("gateway.networking.k8s.io"), None | Some("Gateway")) => ParentKind::Gateway,
        (Some(""), Some("Service")) => ParentKind::Service,
        _ => {
            let message = "only a Gateway, or a Service with `group: \"\"`, has routes here";
            fields.warn_at("kind", codes::NOT_HONOURED, message.to_owned());
            fields.ignore(&["group"]);
            fields.finish(&[]);
            return None;
        }
    };
    fields.finish(&[]);
    Some(RouteParent {
        at: d.position(node.mark),
        kind,
        name: name?,
        namespace,
        section,
        port,
    })
}

/// A rule with all of its matches.
struct Rule {
    matches: Vec<HttpMatch>,
    route: HttpRoute,
    backends: Vec<Backend>,
    mirrors: Vec<Backend>,
}

impl Rule {
    fn one_for_each_match(self, index: usize) -> impl Iterator<Item = MatchedRule> {
        let Self {
            matches,
            route,
            backends,
            mirrors,
        } = self;
        matches.into_iter().map(move |condition| MatchedRule {
            index,
            route: HttpRoute {
                matches: vec![condition],
                ..route.clone()
            },
            backends: backends.clone(),
            mirrors: mirrors.clone(),
        })
    }
}

fn rule(d: &mut Decoder, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", non_empty);
    let mut conditions = fields.list("matches", matches::read);
    if !fields.has("matches") {
        conditions.push(matches::any(fields.d.position(node.mark)));
    }
    let filters = fields.list("filters", filter::read);
    let backends = fields.list("backendRefs", backend);
    let (timeout, per_try) = fields.optional("timeouts", timeouts).unwrap_or_default();
    let retries = fields.optional("retry", |d, node| retry(d, node, per_try));
    fields.finish(&["sessionPersistence"]);
    let retries = retries.or_else(|| {
        per_try.map(|per_try| Retries {
            attempts: ATTEMPTS,
            per_try_timeout: Some(per_try),
            retry_on: None,
            backoff: None,
        })
    });
    let at = d.position(node.mark);
    let filters = Filters::all(filters);
    let weights: u32 = backends.iter().map(|(route, _)| weight(route)).sum();
    // Without a backend, requests get 500.
    let answered = filters.redirect.is_some() || weights > 0;
    let direct_response = (!answered).then(|| DirectResponse {
        at: at.clone(),
        status: 500,
        body: Vec::new(),
    });
    let (route, backends) = backends.into_iter().unzip();
    Some(Rule {
        matches: conditions,
        route: HttpRoute {
            at,
            name,
            matches: Vec::new(),
            route,
            redirect: filters.redirect,
            direct_response,
            delegate: None,
            rewrite: filters.rewrite,
            timeout,
            retries,
            fault: None,
            mirrors: filters.mirrors,
            cors_policy: filters.cors,
            headers: filters.headers,
        },
        backends,
        mirrors: filters.mirrored,
    })
}

fn weight(route: &RouteDestination) -> u32 {
    route.weight.as_ref().map_or(1, |weight| weight.value)
}

fn backend(d: &mut Decoder, node: &Node) -> Option<(RouteDestination, Backend)> {
    let mut fields = Fields::of(d, node)?;
    let (destination, backend) = reference(&mut fields, node)?;
    let weight = fields.optional("weight", located(integer(0..=1_000_000)));
    let filters = Filters::all(fields.list("filters", filter::read));
    if filters.changes_more_than_headers() {
        let message = "only header filters are supported for a backend".to_owned();
        fields.warn_at("filters", codes::NOT_HONOURED, message);
    }
    fields.finish(&[]);
    let at = d.position(node.mark);
    let route = RouteDestination {
        at,
        destination,
        weight: Some(weight.unwrap_or_else(|| d.locate(1, node))),
        headers: filters.headers,
    };
    Some((route, backend))
}

/// `group`, `kind`, `name`, `namespace` and `port` of a backend.
pub(super) fn reference(
    fields: &mut Fields<'_, '_>,
    node: &Node,
) -> Option<(Destination, Backend)> {
    let group = fields.optional("group", crate::decode::string);
    let kind = fields.optional("kind", non_empty);
    let name = fields.required("name", crate::decode::located_string);
    let namespace = fields.optional("namespace", dns_label);
    let port = fields.optional("port", located(port));
    let is_service = group.as_deref().unwrap_or_default().is_empty()
        && kind.as_deref().unwrap_or("Service") == "Service";
    // Istio's way to name the host of a ServiceEntry.
    let is_hostname =
        group.as_deref() == Some("networking.istio.io") && kind.as_deref() == Some("Hostname");
    if is_service && port.is_none() {
        fields.missing("port");
    }
    if !is_service && !is_hostname {
        let message = "requests for it get 500: only a Service can be called".to_owned();
        fields.warn_at("kind", codes::NOT_HONOURED, message);
    }
    let name = name?;
    let host = match &namespace {
        Some(namespace) if is_service => format!("{}.{namespace}.svc.cluster.local", name.value),
        _ => name.value.clone(),
    };
    let backend = Backend {
        at: fields.d.position(node.mark),
        name: name.value.clone(),
        namespace,
        is_service: is_service || is_hostname,
    };
    let destination = Destination {
        host: WithPosition {
            value: host,
            at: name.at,
        },
        subset: None,
        port,
    };
    Some((destination, backend))
}

/// `request` and `backendRequest`; zero disables them.
fn timeouts(d: &mut Decoder, node: &Node) -> Option<(Option<Duration>, Option<Duration>)> {
    let mut fields = Fields::of(d, node)?;
    let request = fields.optional("request", duration);
    let per_try = fields.optional("backendRequest", duration);
    if let (Some(request), Some(per_try)) = (request, per_try)
        && !request.is_zero()
        && per_try > request
    {
        let message = "is longer than `request`, which limits both".to_owned();
        fields.error_at("backendRequest", codes::INVALID_VALUE, message);
    }
    fields.finish(&[]);
    let some = |time: Option<Duration>| time.filter(|time| !time.is_zero());
    Some((some(request), some(per_try)))
}

fn retry(d: &mut Decoder, node: &Node, per_try: Option<Duration>) -> Option<Retries> {
    let mut fields = Fields::of(d, node)?;
    let statuses = fields.list("codes", |d, node| located(integer(400..=599))(d, node));
    let attempts = fields.optional("attempts", integer(0..=100));
    let backoff = fields.optional("backoff", duration);
    fields.finish(&[]);
    let text = |code: WithPosition<u32>| WithPosition {
        value: code.value.to_string(),
        at: code.at,
    };
    let lost = ["connect-failure", "refused-stream"];
    let lost = lost.map(|condition| d.locate(condition.to_owned(), node));
    Some(Retries {
        attempts: attempts.unwrap_or(ATTEMPTS),
        per_try_timeout: per_try,
        retry_on: Some(statuses.into_iter().map(text).chain(lost).collect()),
        backoff,
    })
}
