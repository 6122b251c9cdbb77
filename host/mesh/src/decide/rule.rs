//! A compiled rule: its match blocks, and its action.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use galleria_manifest::Position;
use galleria_manifest::model::Percent;
use http::StatusCode;
use rand::Rng;

use super::condition::{Condition, MatchContext, UriMatch};
use super::cors::Cors;
use super::fault::Fault;
use super::headers::HeaderChanges;
use super::redirect::Redirect;
use super::rewrite::Rewrite;
use crate::{Cluster, LocalReply, ObjectRef, RetryPolicy};

/// The kind of an HTTPRoute, as an [`ObjectRef`] names it.
pub(crate) const HTTP_ROUTE: &str = "HTTPRoute";

#[derive(Debug)]
pub(crate) struct Rule {
    /// `http[].name`, or `default`.
    pub(crate) name: String,
    /// The VirtualService or Ingress; `None` for a service without either.
    pub(crate) object: Option<Arc<ObjectRef>>,
    /// Its index in `spec.http`.
    pub(crate) index: usize,
    /// `None` if no object defines the rule.
    pub(crate) id: Option<Arc<RouteId>>,
    pub(crate) at: Option<Position>,
    /// One of them must match. Without blocks, the rule matches every request.
    pub(crate) blocks: Vec<Block>,
    pub(crate) fault: Option<Fault>,
    pub(crate) cors: Option<Cors>,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) action: Action,
}

/// The name of a rule in metrics. A rule has the same name in every snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteId {
    /// `namespace/name` of the VirtualService, HTTPRoute or Ingress.
    pub object: String,
    /// The rule's name, or its index in the object.
    pub rule: String,
}

/// Conditions that must all hold.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) at: Option<Position>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug)]
pub(crate) enum Action {
    Forward(Box<ForwardAction>),
    Redirect(Redirect),
    Direct { status: StatusCode, body: Bytes },
}

#[derive(Debug)]
pub(crate) struct ForwardAction {
    /// At least one.
    pub(crate) destinations: Vec<WeightedDestination>,
    pub(crate) rewrite: Rewrite,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) mirrors: Vec<(ClusterChoice, Percent)>,
}

#[derive(Debug)]
pub(crate) struct WeightedDestination {
    pub(crate) at: Option<Position>,
    pub(crate) host: String,
    pub(crate) subset: Option<String>,
    pub(crate) weight: u32,
    pub(crate) cluster: ClusterChoice,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
}

/// The cluster of a destination, as the snapshot was compiled.
#[derive(Debug, Clone)]
pub(crate) enum ClusterChoice {
    One(Arc<Cluster>),
    /// A destination without a port, of a service with several ports: the port that the
    /// request was sent to. Port 0 stands for every port that is not in the list.
    ByPort(Vec<(u16, Arc<Cluster>)>, String),
    /// The service, its port or the subset does not exist. This is Envoy's name for the
    /// missing cluster.
    Missing(String),
}

impl Rule {
    /// The reply if the selected destination does not exist. The Gateway API requires 500.
    pub(crate) fn no_cluster(&self, missing: &str) -> LocalReply {
        let object = self.object.as_ref();
        if object.is_some_and(|object| object.kind == HTTP_ROUTE) {
            return LocalReply::invalid_backend(missing);
        }
        LocalReply::no_cluster(missing)
    }
}

impl Rule {
    /// Whether a header that it writes, for this destination, depends on the request.
    pub(crate) fn substitutes(&self, destination: &WeightedDestination) -> bool {
        let all = [
            &self.request_headers,
            &self.response_headers,
            &destination.request_headers,
            &destination.response_headers,
        ];
        all.iter().any(|changes| changes.substitutes())
    }

    /// `None` if the mesh replies itself.
    pub(crate) fn forward_action(&self) -> Option<&ForwardAction> {
        match &self.action {
            Action::Forward(action) => Some(action),
            Action::Redirect(_) | Action::Direct { .. } => None,
        }
    }

    /// The policy of a rule that forwards; other rules never retry.
    pub(crate) fn retry_policy(&self) -> &RetryPolicy {
        static NEVER: LazyLock<RetryPolicy> = LazyLock::new(RetryPolicy::never);
        self.forward_action().map_or(&NEVER, |action| &action.retry)
    }
}

impl RouteId {
    pub(crate) fn new(object: &ObjectRef, name: Option<&str>, index: usize) -> Self {
        Self {
            object: object.qualified_name(),
            rule: name.map_or_else(|| index.to_string(), str::to_owned),
        }
    }
}

impl Block {
    pub(crate) fn holds(&self, context: &MatchContext<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(context))
    }

    pub(crate) fn uri(&self) -> Option<&UriMatch> {
        self.conditions
            .iter()
            .find_map(|condition| match condition {
                Condition::Uri(uri) => Some(uri),
                _ => None,
            })
    }

    /// Whether it matches every request.
    pub(crate) fn is_catch_all(&self) -> bool {
        self.conditions.iter().all(Condition::is_vacuous)
    }

    /// Whether it comes after the blocks of other resources: Istio knows `/` and `.*` only.
    pub(crate) fn goes_last(&self) -> bool {
        let is_all = |condition: &Condition| match condition {
            Condition::Uri(uri) => uri.is_plain_catch_all(),
            _ => false,
        };
        self.conditions.iter().all(is_all)
    }

    /// Whether its conditions on the port and the caller hold.
    pub(crate) fn applies(&self, context: &MatchContext<'_>) -> bool {
        let holds =
            |condition: &Condition| !condition.is_known_before() || condition.holds(context);
        self.conditions.iter().all(holds)
    }
}

impl Rule {
    pub(crate) fn is_catch_all(&self) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(Block::is_catch_all)
    }
}

impl ForwardAction {
    /// Selects the destination of one request by weight.
    pub(crate) fn split(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.destinations.len() <= 1 {
            return (!self.destinations.is_empty()).then_some(0);
        }
        let total: u64 = self
            .destinations
            .iter()
            .map(|it| u64::from(it.weight))
            .sum();
        if total == 0 {
            return Some(0);
        }
        let mut left = rng.random_range(0..total);
        self.destinations.iter().position(|destination| {
            let weight = u64::from(destination.weight);
            let chosen = left < weight;
            left = left.saturating_sub(weight);
            chosen
        })
    }
}

impl ClusterChoice {
    /// The cluster for a request to `port`, or Envoy's name for the missing cluster.
    pub(crate) fn for_port(&self, port: u16) -> Result<&Arc<Cluster>, &str> {
        match self {
            Self::One(cluster) => Ok(cluster),
            Self::ByPort(clusters, missing) => clusters
                .iter()
                .find(|(number, _)| *number == port)
                .or_else(|| clusters.iter().find(|(number, _)| *number == 0))
                .map(|(_, cluster)| cluster)
                .ok_or(missing),
            Self::Missing(name) => Err(name),
        }
    }
}
