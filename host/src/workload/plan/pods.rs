//! From a pod template to a [`PodPlan`]: the image, the environment and the volumes.

use std::sync::Arc;

use galleria_manifest::model::{Container, Metadata, Object, PodTemplate};
use galleria_manifest::{Diagnostic, Presets};
use galleria_mesh as mesh;

use super::PodPlan;
use super::problem::{Problems, UnavailableImage};
use super::revision::revision;
use crate::causes::with_causes;
use crate::guest::{Component, Entry};
use crate::workload::configuration::Configuration;
use crate::workload::environment;
use crate::workload::field::PodFacts;
use crate::workload::image::{ImageRequest, Images};
use crate::workload::pull_secrets;
use crate::workload::volumes::{BoundVolume, Claims, DataFolder};

/// The path of the image in the `spec` of a template.
const IMAGE: &str = "containers[0].image";

/// Bytes for a pod without `limits.memory`: enough for an interpreter.
pub(in crate::workload) const MEMORY_DEFAULT: u64 = 512 << 20;

/// Plans the pods of objects that stand beside each other.
pub(super) struct PodPlanner<'a> {
    pub(super) objects: &'a [Arc<Object>],
    pub(super) images: &'a Images,
    pub(super) volumes: &'a DataFolder,
    pub(super) trust_domain: &'a Arc<str>,
    pub(super) configuration: Configuration,
    pub(super) presets: Presets<'a>,
}

impl PodPlanner<'_> {
    /// The plan of the pods of `object`, from its `template`, whose `spec` has the path
    /// `spec`. Their component must have `entry`.
    ///
    /// # Errors
    /// All problems of the template. Those of an image that may be available later are
    /// also added to `unavailable`.
    pub(super) fn plan(
        &self,
        object: &Arc<Object>,
        template: &PodTemplate,
        spec: &'static str,
        entry: Entry,
        unavailable: &mut Vec<UnavailableImage>,
    ) -> Result<PodPlan, Vec<Diagnostic>> {
        let preset = self.presets.apply(&object.metadata.namespace, template);
        for conflict in &preset.conflicts {
            let (namespace, object) = (&object.metadata.namespace, &object.metadata.name);
            let at = &conflict.at;
            tracing::warn!(%namespace, %object, %at, "{}", conflict.message);
        }
        let template = &preset.template;
        let mut problems = Problems::of(object, spec);
        let Some(container) = template.spec.containers.first() else {
            let message = "a pod needs a container".to_owned();
            problems.add(&template.spec.at, "containers", message);
            return Err(problems.into_diagnostics());
        };
        let identity = identity(&object.metadata, template).in_trust_domain(self.trust_domain);
        let facts = PodFacts::example(&identity, template, container);
        let component = self.component(object, template, container, &mut problems, unavailable);
        if let Some(Err(error)) = component.as_deref().map(|it| it.offers(entry)) {
            problems.add(&container.image.at, IMAGE, with_causes(&error));
        }
        if let Err(errors) = environment::resolve(container, &self.configuration, &facts) {
            for error in errors {
                problems.add(&error.at, "containers[0].env", error.message);
            }
        }
        let volumes = self.volumes(object, &facts, &mut problems);
        let (Some(component), Some(volumes), true) = (component, volumes, problems.is_empty())
        else {
            return Err(problems.into_diagnostics());
        };
        let configuration = self
            .configuration
            .referenced_by(&identity.namespace, &template.spec);
        Ok(PodPlan {
            owner: None,
            uid: None,
            revision: revision(object, &component, &preset.applied),
            memory_limit: container.resources.limits.memory.unwrap_or(MEMORY_DEFAULT),
            memory_request: container.resources.memory_request(),
            cpu_limit: (container.resources.limits.cpu_millis).filter(|limit| *limit > 0),
            grace_period: template.spec.termination_grace_period,
            container: container.clone(),
            template: template.clone(),
            spec: object.written_pod_spec().clone(),
            configuration: Arc::new(configuration),
            identity: Arc::new(identity),
            component,
            volumes,
        })
    }

    fn component(
        &self,
        object: &Arc<Object>,
        template: &PodTemplate,
        container: &Container,
        problems: &mut Problems<'_>,
        unavailable: &mut Vec<UnavailableImage>,
    ) -> Option<Arc<Component>> {
        let namespace = &object.metadata.namespace;
        let request = ImageRequest {
            image: &container.image,
            policy: container.image_pull_policy,
            pull_secrets: pull_secrets::of(
                &template.spec,
                namespace,
                self.objects,
                &self.configuration,
            ),
        };
        let loaded = self.images.load(&request);
        loaded
            .map_err(|error| {
                let message = with_causes(&error);
                if error.is_transient() {
                    unavailable.push(UnavailableImage {
                        object: object.clone(),
                        image: container.image.value.clone(),
                        message: message.clone(),
                    });
                }
                problems.add(&container.image.at, IMAGE, message);
            })
            .ok()
    }

    fn volumes(
        &self,
        object: &Object,
        facts: &PodFacts<'_>,
        problems: &mut Problems<'_>,
    ) -> Option<Vec<BoundVolume>> {
        let claims = Claims {
            objects: self.objects,
            owner: object,
        };
        let bound = self.volumes.bind(facts, &self.configuration, claims);
        bound
            .map_err(|errors| {
                for error in errors {
                    problems.add(&error.at, "volumes", error.message);
                }
            })
            .ok()
    }
}

fn identity(metadata: &Metadata, template: &PodTemplate) -> mesh::Workload {
    mesh::Workload::new(
        metadata.namespace.clone(),
        metadata.name.value.clone(),
        template.spec.service_account_name.value.clone(),
        template.labels.clone(),
    )
}
