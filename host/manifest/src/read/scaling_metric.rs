//! One of an autoscaler's `metrics`, in the forms of v2 and of v2beta1.

use crate::codes;
use crate::decode::{Decoder, Fields, choice, integer, non_empty, quantity};
use crate::model::{Quantity, ResourceTarget, ScaledResource, ScalingMetric};
use crate::yaml::Node;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Resource,
    Pods,
    Elsewhere,
}

/// A metric; none if it is measured outside of this host.
pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Option<ScalingMetric>> {
    let mut metric = Fields::of(d, node)?;
    let kind = metric.required("type", |d, node| {
        let kinds = [
            ("Resource", Kind::Resource),
            ("ContainerResource", Kind::Resource),
            ("Pods", Kind::Pods),
            ("Object", Kind::Elsewhere),
            ("External", Kind::Elsewhere),
        ];
        choice(d, node, "a kind of metric", &kinds)
    })?;
    let read = match kind {
        Kind::Resource if metric.has("containerResource") => {
            metric.required("containerResource", resource).map(Some)
        }
        Kind::Resource => metric.required("resource", resource).map(Some),
        Kind::Pods => metric.required("pods", pods).map(Some),
        Kind::Elsewhere => {
            let message = "is measured outside of this host, and has no effect here; use Resource \
                           or Pods"
                .to_owned();
            metric.warn_at("type", codes::NOT_HONOURED, message);
            metric.ignore(&["object", "external"]);
            Some(None)
        }
    };
    metric.finish(&[]);
    read
}

fn resource(d: &mut Decoder, node: &Node) -> Option<ScalingMetric> {
    let mut fields = Fields::of(d, node)?;
    let resource = fields.required("name", |d, node| {
        let resources = [
            ("cpu", ScaledResource::Cpu),
            ("memory", ScaledResource::Memory),
        ];
        choice(d, node, "a resource", &resources)
    });
    // A pod has one container.
    fields.ignore(&["container"]);
    let old = fields.optional("targetAverageUtilization", integer(1..=10_000));
    let old = old.map(ResourceTarget::Utilization).or_else(|| {
        let value = fields.optional("targetAverageValue", positive)?;
        Some(ResourceTarget::AverageValue(value))
    });
    let target = match old {
        Some(target) => Some(target),
        None => fields.required("target", |d, node| {
            let mut target = Fields::of(d, node)?;
            kind_of_target(&mut target, &["Utilization", "AverageValue"]);
            let percent = target.optional("averageUtilization", integer(1..=10_000));
            let value = target.optional("averageValue", positive);
            if !target.has("averageUtilization") && !target.has("averageValue") {
                target.missing("averageUtilization");
            }
            target.finish(&[]);
            let value = value.map(ResourceTarget::AverageValue);
            percent.map(ResourceTarget::Utilization).or(value)
        }),
    };
    fields.finish(&[]);
    Some(ScalingMetric::Resource {
        resource: resource?,
        target: target?,
    })
}

fn pods(d: &mut Decoder, node: &Node) -> Option<ScalingMetric> {
    let mut fields = Fields::of(d, node)?;
    let old_name = fields.optional("metricName", non_empty);
    let (name, average) = match old_name {
        Some(name) => (Some(name), fields.required("targetAverageValue", positive)),
        None => {
            let name = fields.required("metric", |d, node| {
                let mut metric = Fields::of(d, node)?;
                let name = metric.required("name", non_empty);
                metric.finish(&["selector"]);
                name
            });
            let average = fields.required("target", |d, node| {
                let mut target = Fields::of(d, node)?;
                kind_of_target(&mut target, &["AverageValue"]);
                let value = target.required("averageValue", positive);
                target.finish(&[]);
                value
            });
            (name, average)
        }
    };
    fields.finish(&["selector"]);
    let name = name?;
    if name != "requests_per_second" {
        let message = format!(
            "the host measures `requests_per_second` of pods, not `{name}`; the metric has no effect"
        );
        d.warning(node.mark, codes::NOT_HONOURED, message);
    }
    Some(ScalingMetric::Pods {
        name,
        average: average?,
    })
}

fn kind_of_target(target: &mut Fields<'_, '_>, kinds: &[&'static str]) {
    target.optional("type", |d, node| {
        let kinds: Vec<_> = kinds.iter().map(|kind| (*kind, ())).collect();
        choice(d, node, "a kind of target", &kinds)
    });
}

fn positive(d: &mut Decoder, node: &Node) -> Option<Quantity> {
    let value = quantity(d, node)?;
    if value.millis == 0 {
        d.error(node.mark, codes::INVALID_VALUE, "must be more than 0");
        return None;
    }
    Some(value)
}
