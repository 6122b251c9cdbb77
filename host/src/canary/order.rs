//! Orders of `galleria canary`, and what they mean for the objects in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use galleria_manifest::deployments_behind;
use galleria_manifest::model::{Canary, Destination, Object, ObjectKey, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CanaryError, Phase, Split};

/// An action on the rules of a canary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub route: Route,
    pub action: Action,
}

/// The rules that an order is about.
#[derive(Debug, Clone, Serialize, Deserialize, Args)]
pub(crate) struct Route {
    /// The VirtualService that splits the requests
    #[arg(value_name = "[NAMESPACE/]VIRTUALSERVICE")]
    pub virtual_service: String,

    /// Only its rule with this name [default: all that split requests]
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,

    /// The canary's subset, or its host [default: that of the Canary object, or `canary`]
    #[arg(long, value_name = "SUBSET")]
    pub canary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Gives the canary its share, in percent.
    Set(u32),
    /// Sends all requests to the canary.
    Promote,
    /// Sends no requests to the canary.
    Abort,
    /// Starts an automatic run with this analysis, or with that of the existing Canary
    /// object.
    Analyse(Settings),
}

/// `spec.analysis` of the Canary object to create. If no field is set, the existing Canary
/// object is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Args)]
pub(crate) struct Settings {
    /// Percent by which the share grows with each step [default: 10]
    #[arg(long, value_name = "PERCENT", requires = "auto")]
    pub step_weight: Option<u32>,

    /// Percent after which the canary is promoted to 100 [default: 50]
    #[arg(long, value_name = "PERCENT", requires = "auto")]
    pub max_weight: Option<u32>,

    /// How often it is checked [default: 10s]
    #[arg(long, value_name = "DURATION", requires = "auto")]
    pub interval: Option<String>,

    /// Failed checks before the canary is rolled back [default: 3]
    #[arg(long, value_name = "COUNT", requires = "auto")]
    pub threshold: Option<u32>,

    /// Percent of its requests that must not get 5xx [default: 99]
    #[arg(long, value_name = "PERCENT", requires = "auto")]
    pub success_rate_min: Option<f64>,

    /// Milliseconds within which 99 % of its requests must be answered [default: a median
    /// of at most 1.5 times that of the stable version]
    #[arg(long, value_name = "MILLISECONDS", requires = "auto")]
    pub duration_max: Option<u64>,
}

/// What an order means for the objects in force.
pub(crate) enum OrderPlan {
    /// Sets a weight manually.
    Weight {
        split: Split,
        weight: u32,
        /// The Canary object of the same rules, and its phase afterwards.
        canary: Option<(ObjectKey, Phase)>,
    },
    /// Starts a run, after `object` is written if there is one.
    Analyse {
        key: ObjectKey,
        object: Option<Value>,
    },
}

/// Resolves an order.
///
/// # Errors
/// The order refers to something that does not exist.
pub(crate) fn plan(order: &Order, objects: &[Arc<Object>]) -> Result<OrderPlan, CanaryError> {
    let route = &order.route;
    let (split, canary) = resolve(route, objects)?;
    let key = canary.map(Object::key);
    let phase = |phase| key.clone().map(|key| (key, phase));
    match &order.action {
        Action::Set(weight) => Ok(OrderPlan::Weight {
            split,
            weight: *weight,
            canary: phase(Phase::Progressing),
        }),
        Action::Promote => Ok(OrderPlan::Weight {
            split,
            weight: 100,
            canary: phase(Phase::Succeeded),
        }),
        Action::Abort => Ok(OrderPlan::Weight {
            split,
            weight: 0,
            canary: phase(Phase::Failed),
        }),
        Action::Analyse(settings) => {
            if let (Some(key), true) = (&key, *settings == Settings::default()) {
                let key = key.clone();
                return Ok(OrderPlan::Analyse { key, object: None });
            }
            let name = canary.map_or(&split.service.name, |it| &it.metadata.name.value);
            let object = object(name, route, settings, &split, objects)?;
            Ok(OrderPlan::Analyse {
                key: ObjectKey {
                    group: "flagger.app".to_owned(),
                    kind: "Canary".to_owned(),
                    name: name.clone(),
                    namespace: split.service.namespace,
                },
                object: Some(object),
            })
        }
    }
}

/// The rules of `route`, and the Canary object for them.
pub(super) fn resolve<'a>(
    route: &Route,
    objects: &'a [Arc<Object>],
) -> Result<(Split, Option<&'a Object>), CanaryError> {
    let service = service(&route.virtual_service, objects)?;
    let namespace = &service.metadata.namespace;
    let about_it = |(object, spec): &(&Object, &Canary)| {
        object.metadata.namespace == *namespace && spec.route.value == service.metadata.name.value
    };
    let known = super::canaries(objects).find(about_it);
    let split = match (&route.canary, known) {
        (None, Some((object, spec))) if route.route.is_none() => {
            super::split_of(object, spec, objects)?
        }
        (named, _) => {
            let name = named.as_deref().unwrap_or("canary");
            let is_canary = |it: &Destination| {
                let subset = it.subset.as_ref().map(|subset| subset.value.as_str());
                subset == Some(name) || (subset.is_none() && it.host.value == name)
            };
            Split::of(service, route.route.as_deref(), name, is_canary)?
        }
    };
    Ok((split, known.map(|(object, _)| object)))
}

/// The VirtualService of `[NAMESPACE/]NAME`.
fn service<'a>(named: &str, objects: &'a [Arc<Object>]) -> Result<&'a Object, CanaryError> {
    if let Some((namespace, name)) = named.split_once('/') {
        return super::find_service(objects, namespace, name);
    }
    let of_name = objects.iter().filter(|it| {
        matches!(it.resource, Resource::VirtualService(_)) && it.metadata.name.value == named
    });
    let found: Vec<&Arc<Object>> = of_name.collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CanaryError::NoService {
            name: named.to_owned(),
        }),
        several => {
            let names = several
                .iter()
                .map(|it| format!("{}/{named}", it.metadata.namespace));
            Err(CanaryError::Ambiguous {
                name: named.to_owned(),
                found: Vec::from_iter(names).join(", "),
            })
        }
    }
}

/// The Canary object that an order creates.
fn object(
    name: &str,
    route: &Route,
    settings: &Settings,
    split: &Split,
    objects: &[Arc<Object>],
) -> Result<Value, CanaryError> {
    let namespace = &split.service.namespace;
    let service = super::find_service(objects, namespace, &split.service.name)?;
    let targets = split
        .canaries(service)
        .flat_map(|it| deployments_behind(objects, namespace, it));
    let targets: BTreeSet<String> = targets.map(|key| key.name).collect();
    let Some(target) = targets.first().filter(|_| targets.len() == 1) else {
        let canary = split.shares(true).next().map(ToString::to_string);
        return Err(CanaryError::NoTarget {
            canary: canary.unwrap_or_default(),
            count: targets.len(),
        });
    };
    let duration = settings.duration_max.map(|max| json!({"max": max}));
    let mut object = json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "service": {"name": split.service.name},
            "analysis": {
                "interval": settings.interval.as_deref().unwrap_or("10s"),
                "threshold": settings.threshold.unwrap_or(3),
                "stepWeight": settings.step_weight.unwrap_or(10),
                "maxWeight": settings.max_weight.unwrap_or(50),
                "metrics": [
                    {
                        "name": "request-success-rate",
                        "thresholdRange": {"min": settings.success_rate_min.unwrap_or(99.0)},
                    },
                    match duration {
                        Some(range) => json!({"name": "request-duration", "thresholdRange": range}),
                        None => json!({"name": "request-duration"}),
                    },
                ],
            },
        },
    });
    if let Some(rule) = &route.route {
        object["metadata"]["annotations"] = json!({Canary::RULE_ANNOTATION: rule});
    }
    Ok(object)
}
