//! Which requests the limit of a route is for.

use std::sync::Arc;

use galleria_manifest::model::RateLimitAction;

use super::LimitedRequest;
use super::limit::LocalLimit;

/// The limit of a route or a virtual host.
#[derive(Debug)]
pub(crate) struct RouteLimit {
    pub(crate) virtual_host: VirtualHostMatch,
    pub(crate) route: Option<String>,
    /// Replaces that of the filter.
    pub(crate) limit: Option<Arc<LocalLimit>>,
    pub(crate) descriptors: Vec<Vec<RateLimitAction>>,
}

/// The virtual host of a patch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VirtualHostMatch {
    Any,
    /// `HOST:PORT` of a gateway. The host can be `*` or begin with `*.`.
    Host(String, u16),
    /// `inbound|http|PORT`, as ports of the pod.
    Ports(Vec<u16>),
    /// A name that no virtual host has.
    Nothing,
}

impl RouteLimit {
    pub(super) fn matches(&self, request: &LimitedRequest<'_>) -> bool {
        let is_route = match (&self.route, request.route) {
            (None, _) => true,
            (Some(expected), Some(name)) => expected == name,
            // The only route of a workload.
            (Some(expected), None) => expected == "default",
        };
        is_route && self.virtual_host.matches(request)
    }

    /// A route counts more than a virtual host, and that more than all of them.
    pub(super) fn specificity(&self) -> u8 {
        match (&self.route, &self.virtual_host) {
            (Some(_), _) => 2,
            (None, VirtualHostMatch::Any) => 0,
            (None, _) => 1,
        }
    }
}

impl VirtualHostMatch {
    fn matches(&self, request: &LimitedRequest<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => false,
            Self::Ports(ports) => ports.contains(&request.port),
            Self::Host(host, port) => {
                let requested = request.head.host().to_ascii_lowercase();
                let is_host = match host.strip_prefix('*') {
                    Some(suffix) => requested.ends_with(suffix),
                    None => requested == *host,
                };
                *port == request.port && is_host
            }
        }
    }
}
