//! A pod template, and a pod's `spec`.

use std::time::Duration;

use super::{container, guest_options, metadata, node, volume};
use crate::WithPosition;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, dns_subdomain, items, non_negative_seconds, steps};
use crate::model::{Container, PodSpec, PodTemplate, RestartPolicy, Volume, VolumeSource};
use crate::yaml::{Mark, Node, Value};

/// Fields that place, isolate or connect a container and have no meaning for a component.
const NOT_HONOURED: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "topologySpreadConstraints",
];

/// `metadata` and `spec`; the owner of the template checks its restart policy.
pub(super) fn template(d: &mut Decoder, node: &Node) -> Option<PodTemplate> {
    template_with_claims(d, node, &[])
}

/// A template of a StatefulSet, whose pods have a claim for each of these names.
pub(super) fn template_with_claims(
    d: &mut Decoder,
    node: &Node,
    claims: &[WithPosition<String>],
) -> Option<PodTemplate> {
    let mut template = Fields::of(d, node)?;
    let metadata = template.optional("metadata", metadata::template);
    let spec = template.required("spec", |d, node| read_with_claims(d, node, claims));
    template.finish(&[]);
    let (labels, annotations) = metadata.unwrap_or_default();
    let options = d.within(steps!["metadata", "annotations"], |d| {
        guest_options::read(d, &annotations)
    });
    Some(PodTemplate {
        labels,
        annotations,
        options,
        spec: spec?,
    })
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<PodSpec> {
    read_with_claims(d, node, &[])
}

fn read_with_claims(
    d: &mut Decoder,
    node: &Node,
    claims: &[WithPosition<String>],
) -> Option<PodSpec> {
    let mut spec = Fields::of(d, node)?;
    let containers = spec.required_list("containers", container::read);
    check_containers(&mut spec, node);
    let mut volumes = spec.list("volumes", volume::read);
    let image_pull_secrets = spec.list("imagePullSecrets", local_reference);
    let old_account = spec.optional("serviceAccount", dns_subdomain_located);
    let account = spec
        .optional("serviceAccountName", dns_subdomain_located)
        .or(old_account);
    let grace = spec.optional("terminationGracePeriodSeconds", non_negative_seconds);
    let restart_policy = spec.optional("restartPolicy", |d, node| {
        let policies = [
            ("Always", RestartPolicy::Always),
            ("OnFailure", RestartPolicy::OnFailure),
            ("Never", RestartPolicy::Never),
        ];
        choice(d, node, "a restart policy", &policies)
    });
    let tolerations = spec.list("tolerations", node::toleration);
    spec.finish(NOT_HONOURED);
    let containers = containers?;
    let written = volumes.len();
    // A claim replaces a volume of the same name.
    volumes.retain(|volume| !claims.contains(&volume.name));
    volumes.extend(claims.iter().map(|name| Volume {
        name: name.clone(),
        source: VolumeSource::ClaimTemplate,
    }));
    check_volumes(d, node, &containers, &volumes, written);
    let at = d.position(node.mark);
    Some(PodSpec {
        service_account_name: account
            .unwrap_or_else(|| WithPosition::new("default".to_owned(), at.clone())),
        at,
        containers,
        volumes,
        image_pull_secrets,
        termination_grace_period: grace.unwrap_or(Duration::from_secs(30)),
        restart_policy: restart_policy.unwrap_or(RestartPolicy::Always),
        tolerations,
    })
}

/// An object of the same namespace, by name.
pub(super) fn local_reference(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", dns_subdomain_located);
    fields.finish(&[]);
    name
}

fn dns_subdomain_located(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    dns_subdomain(d, node).map(|name| d.locate(name, node))
}

/// One container, without init containers.
fn check_containers(spec: &mut Fields<'_, '_>, node: &Node) {
    if spec.take("initContainers").is_some() {
        let message = "the host runs one component in each pod and nothing before it; do its work \
                       in the component, or in a Job"
            .to_owned();
        spec.error_at("initContainers", codes::CONTAINERS, message);
    }
    let Some(Value::Sequence(containers)) = node.get("containers").map(|list| &list.value) else {
        return;
    };
    for (index, extra) in containers.iter().enumerate().skip(1) {
        let sidecar = extra.get("name").and_then(Node::as_text) == Some("istio-proxy");
        let message = if sidecar {
            "the host is the mesh, so a sidecar is not needed; leave it out"
        } else {
            "the host runs one component in each pod; give this container a Deployment of its own"
        };
        spec.d.within(steps!["containers", index], |d| {
            d.error(extra.mark, codes::CONTAINERS, message);
        });
    }
}

/// Names must be unique, and mounts must refer to volumes of the pod.
fn check_volumes(
    d: &mut Decoder,
    node: &Node,
    containers: &[Container],
    volumes: &[Volume],
    written: usize,
) {
    for (index, volume) in volumes.iter().enumerate() {
        if volumes[..index]
            .iter()
            .any(|earlier| earlier.name == volume.name)
        {
            let message = format!("the volume `{}` is declared twice", volume.name);
            let mark = Mark::from(&volume.name.at);
            d.within(steps!["volumes", index, "name"], |d| {
                d.error(mark, codes::DUPLICATE_NAME, message);
            });
        }
    }
    if !node
        .get("volumes")
        .is_none_or(|list| items_were_read(list, written))
    {
        // An invalid volume is already reported; its mounts are not.
        return;
    }
    for (index, container) in containers.iter().enumerate() {
        for (mount_index, mount) in container.volume_mounts.iter().enumerate() {
            if volumes.iter().any(|volume| volume.name == mount.name) {
                continue;
            }
            let names = volumes.iter().map(|volume| volume.name.value.as_str());
            let hint = crate::decode::did_you_mean(&mount.name, names);
            let hint = if hint.is_empty() {
                "; declare it under spec.volumes".to_owned()
            } else {
                hint
            };
            let message = format!("the pod has no volume `{}`{hint}", mount.name);
            let mark = Mark::from(&mount.name.at);
            let path = steps!["containers", index, "volumeMounts", mount_index, "name"];
            d.within(path, |d| d.error(mark, codes::VOLUME, message));
        }
    }
}

fn items_were_read(list: &Node, read: usize) -> bool {
    matches!(&list.value, Value::Sequence(items) if items.len() == read)
}

/// Words of a command line: numbers and booleans count as the text that is written.
pub(super) fn words(d: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    items(d, node, crate::decode::string)
}
