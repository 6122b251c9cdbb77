//! StatefulSet, in its current apiVersion and the two before it.

use super::{deployment, metadata, pod, storage};
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, dns_label, dns_subdomain, integer, non_negative_seconds,
};
use crate::model::{ClaimTemplate, PodManagement, Resource, StatefulSet, StatefulSetUpdate};
use crate::yaml::Node;

/// Ordinals are part of the names of pods, whose length is limited.
const ORDINAL_MAX: u32 = 1_000_000;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let set = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::StatefulSet(set?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<StatefulSet> {
    let mut spec = Fields::of(d, node)?;
    let replicas = deployment::replicas(&mut spec);
    let claims = spec.list("volumeClaimTemplates", claim);
    let names: Vec<_> = claims.iter().map(|claim| claim.name.clone()).collect();
    let template = spec.required("template", |d, node| {
        let template = pod::template_with_claims(d, node, &names)?;
        deployment::always_restarted(d, node, &template, "StatefulSet");
        Some(template)
    });
    let selector = deployment::selector(&mut spec, template.as_ref());
    let min_ready = spec.optional("minReadySeconds", non_negative_seconds);
    if spec.optional("serviceName", dns_subdomain).is_some() {
        let message = "pods have no host names of their own here; call the Service".to_owned();
        spec.warn_at("serviceName", codes::NOT_HONOURED, message);
    }
    let pod_management = spec.optional("podManagementPolicy", |d, node| {
        let policies = [
            ("OrderedReady", PodManagement::OrderedReady),
            ("Parallel", PodManagement::Parallel),
        ];
        choice(d, node, "a pod management policy", &policies)
    });
    let update = spec.optional("updateStrategy", update);
    let first_ordinal = spec.optional("ordinals", |d, node| {
        let mut ordinals = Fields::of(d, node)?;
        let start = ordinals.optional("start", integer(0..=ORDINAL_MAX));
        ordinals.finish(&[]);
        start
    });
    spec.finish(&[
        "persistentVolumeClaimRetentionPolicy",
        "revisionHistoryLimit",
    ]);
    Some(StatefulSet {
        replicas,
        selector: selector?,
        template: template?,
        min_ready: min_ready.unwrap_or_default(),
        first_ordinal: first_ordinal.unwrap_or(0),
        pod_management: pod_management.unwrap_or(PodManagement::OrderedReady),
        update: update.unwrap_or(StatefulSetUpdate::RollingUpdate { partition: 0 }),
        claims,
    })
}

fn update(d: &mut Decoder, node: &Node) -> Option<StatefulSetUpdate> {
    let mut strategy = Fields::of(d, node)?;
    let on_delete = strategy.optional("type", |d, node| {
        let types = [("RollingUpdate", false), ("OnDelete", true)];
        choice(d, node, "an update strategy", &types)
    });
    let on_delete = on_delete.unwrap_or(false);
    if on_delete && strategy.has("rollingUpdate") {
        let message = "has no effect with `type: OnDelete`; leave it out".to_owned();
        strategy.error_at("rollingUpdate", codes::EXCLUSIVE_FIELDS, message);
    }
    let partition = strategy.optional("rollingUpdate", |d, node| {
        let mut rolling = Fields::of(d, node)?;
        let partition = rolling.optional("partition", integer(0..=u32::MAX));
        rolling.finish(&["maxUnavailable"]);
        partition
    });
    strategy.finish(&[]);
    Some(if on_delete {
        StatefulSetUpdate::OnDelete
    } else {
        let partition = partition.unwrap_or(0);
        StatefulSetUpdate::RollingUpdate { partition }
    })
}

fn claim(d: &mut Decoder, node: &Node) -> Option<ClaimTemplate> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("metadata", |d, node| {
        let mut metadata = Fields::of(d, node)?;
        let name = metadata.required("name", |d, node| {
            dns_label(d, node).map(|name| d.locate(name, node))
        });
        metadata.optional("labels", crate::decode::labels);
        metadata.optional("annotations", metadata::annotations);
        metadata.ignore(&["creationTimestamp", "namespace"]);
        metadata.finish(&[]);
        name
    });
    let claim = storage::claim(&mut fields);
    // Written by a cluster.
    fields.ignore(&["apiVersion", "kind", "status"]);
    fields.finish(&[]);
    Some(ClaimTemplate {
        name: name?,
        claim: claim?,
    })
}
