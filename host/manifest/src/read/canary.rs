//! Flagger's Canary.
//!
//! Both versions are existing Deployments, and an existing VirtualService splits the traffic
//! between them: the host creates neither a primary Deployment nor a route.

use std::time::Duration;

use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, integer, items, located_text, number, positive_duration,
    string,
};
use crate::model::{Canary, CanaryAnalysis, CanaryMetric, Metadata, Resource};
use crate::yaml::Node;

/// The default of the required success rate, in percent.
const SUCCESS_RATE_DEFAULT: f64 = 99.0;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
const PROGRESS_DEADLINE_DEFAULT: u32 = 600;
const DEADLINE_MAX: u32 = 31_536_000;
const THRESHOLD_MAX: u32 = 1_000;
/// An hour.
const MILLISECONDS_MAX: f64 = 3_600_000.0;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let canary = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::Canary(canary?))
}

/// Reads the annotations of a Canary.
pub(super) fn take_annotations(canary: &mut Canary, metadata: &Metadata) {
    canary.rule = metadata.annotations.get(Canary::RULE_ANNOTATION).cloned();
}

fn spec(d: &mut Decoder, node: &Node) -> Option<Canary> {
    let mut spec = Fields::of(d, node)?;
    let target = spec.required("targetRef", target);
    let route = spec.optional("service", service).flatten();
    let suspended = spec.optional("suspend", boolean).unwrap_or(false);
    let skip_analysis = spec.optional("skipAnalysis", boolean).unwrap_or(false);
    let deadline = spec.optional("progressDeadlineSeconds", integer(1..=DEADLINE_MAX));
    let analysis = spec.required("analysis", analysis);
    spec.finish(&[
        "provider",
        "metricsServer",
        "autoscalerRef",
        "ingressRef",
        "routeRef",
        "upstreamRef",
        "revertOnDeletion",
    ]);
    let target = target?;
    Some(Canary {
        route: route.unwrap_or_else(|| target.clone()),
        rule: None,
        target,
        suspended,
        skip_analysis,
        progress_deadline: Duration::from_secs(
            deadline.unwrap_or(PROGRESS_DEADLINE_DEFAULT).into(),
        ),
        analysis: analysis?,
    })
}

fn target(d: &mut Decoder, node: &Node) -> Option<crate::WithPosition<String>> {
    let mut target = Fields::of(d, node)?;
    let kind = target.required("kind", |d, node| {
        choice(
            d,
            node,
            "a kind that can be a canary",
            &[("Deployment", ())],
        )
    });
    let name = target.required("name", located_text);
    target.ignore(&["apiVersion"]);
    target.finish(&[]);
    kind.and(name)
}

/// Only the name has an effect: hosts, retries and other settings are in the VirtualService.
fn service(d: &mut Decoder, node: &Node) -> Option<Option<crate::WithPosition<String>>> {
    let mut service = Fields::of(d, node)?;
    let name = service.optional("name", located_text);
    service.ignore(&["port", "targetPort", "portName", "portDiscovery"]);
    service.finish(&[
        "appProtocol",
        "gateways",
        "gatewayRefs",
        "hosts",
        "match",
        "rewrite",
        "retries",
        "timeout",
        "headers",
        "corsPolicy",
        "trafficPolicy",
        "mirror",
        "delegation",
        "apex",
        "primary",
        "canary",
        "unmanagedMetadata",
    ]);
    Some(name)
}

fn analysis(d: &mut Decoder, node: &Node) -> Option<CanaryAnalysis> {
    let mut analysis = Fields::of(d, node)?;
    let interval = analysis.optional("interval", positive_duration);
    let threshold = analysis.optional("threshold", integer(1..=THRESHOLD_MAX));
    let max = analysis.optional("maxWeight", integer(1..=100));
    let step = analysis.optional("stepWeight", integer(1..=100));
    let steps = analysis.list("stepWeights", integer(1..=100));
    if steps.windows(2).any(|pair| pair[0] >= pair[1]) {
        let message = "each weight must be greater than the one before it".to_owned();
        analysis.error_at("stepWeights", codes::INVALID_VALUE, message);
    }
    if steps.is_empty() && !analysis.has("stepWeight") && !analysis.has("stepWeights") {
        analysis.missing("stepWeight");
    }
    let metrics = analysis.optional("metrics", |d, node| items(d, node, metric));
    analysis.finish(&[
        "iterations",
        "match",
        "mirror",
        "mirrorWeight",
        "stepWeightPromotion",
        "primaryReadyThreshold",
        "canaryReadyThreshold",
        "sessionAffinity",
        "webhooks",
        "alerts",
    ]);
    let at = d.position(node.mark);
    let max = max.unwrap_or(100);
    let weights = match step {
        _ if !steps.is_empty() => steps,
        Some(step) => (1..)
            .map(|n| n * step)
            .take_while(|it| *it < max)
            .chain([max])
            .collect(),
        None => return None,
    };
    let metrics: Vec<CanaryMetric> = metrics.unwrap_or_default().into_iter().flatten().collect();
    Some(CanaryAnalysis {
        at,
        interval: interval.unwrap_or(INTERVAL_DEFAULT),
        threshold: threshold.unwrap_or(1),
        weights,
        metrics: match metrics.is_empty() {
            false => metrics,
            true => vec![
                CanaryMetric::SuccessRate {
                    min: SUCCESS_RATE_DEFAULT,
                },
                CanaryMetric::DurationAgainstStable,
            ],
        },
    })
}

/// None for a metric that only a cluster can measure.
fn metric(d: &mut Decoder, node: &Node) -> Option<Option<CanaryMetric>> {
    let mut metric = Fields::of(d, node)?;
    let name = metric.required("name", string);
    let range = metric.optional("thresholdRange", range);
    // A check considers all requests since the beginning of its step.
    metric.ignore(&["interval"]);
    let known = match name.as_deref() {
        Some("request-success-rate") => {
            let min = range.and_then(|range| range.min);
            match min.unwrap_or(SUCCESS_RATE_DEFAULT) {
                min if min > 0.0 && min < 100.0 => Some(Some(CanaryMetric::SuccessRate { min })),
                _ => {
                    let message =
                        "`min` must be more than 0 and less than 100: percent of requests";
                    metric.error_at("thresholdRange", codes::INVALID_VALUE, message.to_owned());
                    None
                }
            }
        }
        Some("request-duration") => match range.and_then(|range| range.max) {
            Some(max) if (1.0..=MILLISECONDS_MAX).contains(&max) => {
                let max = Duration::from_secs_f64(max / 1_000.0);
                Some(Some(CanaryMetric::Duration { max }))
            }
            Some(_) => {
                let message = "`max` must be from 1 to 3600000: milliseconds".to_owned();
                metric.error_at("thresholdRange", codes::INVALID_VALUE, message);
                None
            }
            None => Some(Some(CanaryMetric::DurationAgainstStable)),
        },
        Some(_) => {
            let message = "is not supported; this host measures \
                           `request-success-rate` and `request-duration`";
            metric.warn_at("name", codes::NOT_HONOURED, message.to_owned());
            Some(None)
        }
        None => None,
    };
    metric.finish(&["query", "templateRef", "templateVariables"]);
    known
}

#[derive(Clone, Copy)]
struct Range {
    min: Option<f64>,
    max: Option<f64>,
}

fn range(d: &mut Decoder, node: &Node) -> Option<Range> {
    let mut range = Fields::of(d, node)?;
    let min = range.optional("min", number);
    let max = range.optional("max", number);
    range.finish(&[]);
    Some(Range { min, max })
}
