//! Istio's EnvoyFilter. The host enforces its rate limits, and reports every other patch as
//! not enforced.

mod action;
mod global_rate_limit;
mod local_rate_limit;

use crate::decode::{Decoder, Fields, choice, items, labels, port, steps, string};
use crate::model::{
    EnvoyFilter, GlobalRateLimit, LocalRateLimit, PatchContext, RateLimitAction, RateLimitChange,
    RateLimitPatch, RateLimitedRoute, Resource,
};
use crate::unenforced::{Unenforced, parts};
use crate::yaml::Node;

const RESTRICTION: Unenforced = Unenforced::new(parts::ENVOY_FILTER);

const FILTER: &str = "envoy.filters.http.local_ratelimit";
const LOCAL: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const GLOBAL: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimit";

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let mut filter = fields.optional("spec", spec).unwrap_or_default();
    if filter.patches.is_empty() && !filter.is_partly_enforced {
        filter.is_partly_enforced = true;
        let what = "EnvoyFilter is not enforced by the host unless it has rate limits";
        let mark = fields.mark;
        fields.d.unenforced(mark, RESTRICTION, what);
    }
    fields.finish(&[]);
    Some(Resource::EnvoyFilter(filter))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<EnvoyFilter> {
    let mut spec = Fields::of(d, node)?;
    let workload_selector = spec.optional("workloadSelector", |d, node| {
        let mut selector = Fields::of(d, node)?;
        let labels = selector.optional("labels", labels);
        selector.finish_strictly();
        labels
    });
    let has_targets = spec.has("targetRefs");
    let mut is_partly_enforced = false;
    let patches = spec.list("configPatches", |d, node| {
        let patch = match has_targets {
            true => None,
            false => patch(d, node),
        };
        if patch.is_none() {
            is_partly_enforced = true;
            let what = "this patch is not enforced by the host, and what it forbids is allowed; \
                        of EnvoyFilters, the host enforces rate limits (docs/CONFIG.md, \"Rate \
                        limits\")";
            d.unenforced(node.mark, RESTRICTION, what);
        }
        patch
    });
    spec.ignore(&["priority", "targetRefs"]);
    spec.finish(&[]);
    Some(EnvoyFilter {
        workload_selector: workload_selector.unwrap_or_default(),
        patches,
        is_partly_enforced,
    })
}

/// `None` for a patch that is not enforced.
fn patch(d: &mut Decoder, node: &Node) -> Option<RateLimitPatch> {
    let value = node.get("patch").and_then(|patch| patch.get("value"))?;
    let operation = text(node.get("patch"), "operation")?;
    let inserts = matches!(
        operation,
        "INSERT_BEFORE" | "INSERT_FIRST" | "INSERT_AFTER" | "ADD"
    );
    let change = match text(Some(node), "applyTo")? {
        "HTTP_FILTER" if inserts => {
            let config = value.get("typed_config")?;
            let path = steps!["patch", "value", "typed_config"];
            match (typed(config, LOCAL), typed(config, GLOBAL)) {
                (Some(limit), _) => {
                    Change::Local(d.within(path, |d| local_rate_limit::read(d, limit))?)
                }
                (_, Some(limit)) => {
                    Change::Global(d.within(path, |d| global_rate_limit::read(d, limit))?)
                }
                (None, None) => return None,
            }
        }
        "HTTP_ROUTE" | "VIRTUAL_HOST" if operation == "MERGE" => route_value(d, value)?,
        _ => return None,
    };
    let mut fields = Fields::of(d, node)?;
    fields.ignore(&["applyTo", "patch"]);
    let at = fields.d.position(node.mark);
    let mut matched = match fields.has("match") {
        true => fields.optional("match", conditions)?,
        false => Matched {
            context: Some(PatchContext::Any),
            ..Matched::default()
        },
    };
    fields.finish(&[]);
    Some(RateLimitPatch {
        at,
        context: matched.context?,
        change: match change {
            Change::Local(limit) => RateLimitChange::Filter {
                port: matched.port,
                limit,
            },
            Change::Global(limit) => RateLimitChange::GlobalFilter {
                port: matched.port,
                limit,
            },
            Change::Route(limit, descriptors) => RateLimitChange::Route(RateLimitedRoute {
                virtual_host: matched.virtual_host.take(),
                route: matched.route.take(),
                limit,
                descriptors,
            }),
        },
    })
}

enum Change {
    Local(LocalRateLimit),
    Global(GlobalRateLimit),
    Route(Option<LocalRateLimit>, Vec<Vec<RateLimitAction>>),
}

/// What a patch of a route or a virtual host adds. `None` if it has something else.
fn route_value(d: &mut Decoder, value: &Node) -> Option<Change> {
    let config = value.get("typed_per_filter_config");
    let limit = config.and_then(|config| typed(config.get(FILTER)?, LOCAL));
    let rate_limits = value.get("rate_limits");
    let rate_limits = rate_limits.or_else(|| value.get("route")?.get("rate_limits"));
    if limit.is_none() && rate_limits.is_none() {
        return None;
    }
    let path = steps!["patch", "value"];
    d.within(path, |d| {
        let limit = match limit {
            Some(limit) => Some(local_rate_limit::read(d, limit)?),
            None => None,
        };
        let descriptors = match rate_limits {
            Some(list) => items(d, list, action::rate_limit)?,
            None => Vec::new(),
        };
        Some(Change::Route(limit, descriptors))
    })
}

#[derive(Default)]
struct Matched {
    /// `None` for a context that the host does not have.
    context: Option<PatchContext>,
    port: Option<u16>,
    virtual_host: Option<String>,
    route: Option<String>,
}

fn conditions(d: &mut Decoder, node: &Node) -> Option<Matched> {
    let mut fields = Fields::of(d, node)?;
    let context = fields.optional("context", |d, node| {
        let contexts = [
            ("ANY", Some(PatchContext::Any)),
            ("SIDECAR_INBOUND", Some(PatchContext::SidecarInbound)),
            ("GATEWAY", Some(PatchContext::Gateway)),
            ("SIDECAR_OUTBOUND", None),
            ("WAYPOINT", None),
        ];
        choice(d, node, "a context", &contexts)
    });
    let listener = fields.optional("listener", |d, node| {
        let mut listener = Fields::of(d, node)?;
        let number = listener.optional("portNumber", port);
        listener.ignore(&["filterChain", "name", "portName"]);
        listener.finish(&[]);
        Some(number)
    });
    let route = fields.optional("routeConfiguration", route_configuration);
    fields.ignore(&["proxy"]);
    fields.finish(&["cluster"]);
    let (virtual_host, route) = route.unwrap_or_default();
    Some(Matched {
        context: context.unwrap_or(Some(PatchContext::Any)),
        port: listener.flatten(),
        virtual_host,
        route,
    })
}

/// The names of a virtual host and of a route.
fn route_configuration(d: &mut Decoder, node: &Node) -> Option<(Option<String>, Option<String>)> {
    let mut fields = Fields::of(d, node)?;
    let names = fields.optional("vhost", |d, node| {
        let mut host = Fields::of(d, node)?;
        let name = host.optional("name", string);
        let route = host.optional("route", |d, node| {
            let mut route = Fields::of(d, node)?;
            let name = route.optional("name", string);
            route.ignore(&["action"]);
            route.finish(&[]);
            Some(name)
        });
        host.finish(&["domainName"]);
        // An empty name is none.
        let is_name = |name: &String| !name.is_empty();
        Some((name.filter(is_name), route.flatten().filter(is_name)))
    });
    fields.ignore(&["gateway", "name", "portName", "portNumber"]);
    fields.finish(&[]);
    Some(names.unwrap_or_default())
}

/// The fields of a filter of type `name` in a `typed_config`, directly or in a TypedStruct.
fn typed<'n>(config: &'n Node, name: &str) -> Option<&'n Node> {
    let is = |key: &str, name: &str| {
        text(Some(config), key).is_some_and(|it| it.rsplit('/').next() == Some(name))
    };
    if is("@type", name) {
        return Some(config);
    }
    let is_struct =
        is("@type", "udpa.type.v1.TypedStruct") || is("@type", "xds.type.v3.TypedStruct");
    match is_struct && is("type_url", name) {
        true => config.get("value"),
        false => None,
    }
}

fn text<'n>(node: Option<&'n Node>, key: &str) -> Option<&'n str> {
    node?.get(key)?.as_text()
}
