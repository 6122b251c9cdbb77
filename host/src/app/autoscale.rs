//! HorizontalPodAutoscalers: measures pods, decides on the number of replicas, and
//! overrides that of the manifests. The controllers of pods follow the scaled object, as
//! in a cluster; the file is not changed.

mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::model::{
    HorizontalPodAutoscaler, Object, ObjectKey, Resource, ResourceTarget, ScaledResource,
    ScalingMetric,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::store::{EventType, InvolvedObject, Recorder, Store};
use crate::workload::{Autoscaler, MetricReading, Pod, Workloads};

/// The metric that the host measures besides the resources of pods.
const REQUESTS_PER_SECOND: &str = "requests_per_second";

/// The reason of the event for a new number of replicas.
const RESCALED: &str = "SuccessfulRescale";

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Autoscalers {
    states: BTreeMap<ObjectKey, AutoscalerState>,
    /// The last measurement of each pod, by its target number.
    counters: HashMap<usize, UsageCounters>,
    /// `spec.replicas` of the scaled objects.
    replicas: BTreeMap<ObjectKey, u32>,
}

#[derive(Default)]
struct AutoscalerState {
    autoscaler: Autoscaler,
    scaled_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct UsageCounters {
    at: Instant,
    cpu: Duration,
    requests: u64,
}

/// The usage of a pod.
#[derive(Clone, Copy)]
struct Usage {
    cpu_cores: f64,
    memory_bytes: f64,
    requests_per_second: f64,
}

impl Autoscalers {
    /// Measures pods, decides once for every autoscaler among `objects`, and reports
    /// their status. Returns the objects whose number of replicas has changed.
    pub(super) fn sync(
        &mut self,
        objects: &[Arc<Object>],
        store: &Store,
        workloads: &Workloads,
        recorder: &Recorder,
    ) -> Vec<ObjectKey> {
        let now = Instant::now();
        let usage = self.measure(&workloads.pods(), now);
        let mut states = BTreeMap::new();
        let mut changed = Vec::new();
        for (object, spec) in autoscalers(objects) {
            let key = object.key();
            let mut own = self.states.remove(&key).unwrap_or_default();
            let generation = store.get(&key).map_or(0, |stored| stored.generation);
            let (status, scaled) = own.sync(object, spec, objects, workloads, &usage, now);
            let status = status::with_generation(status, generation);
            store.set_status(&key, status);
            if let Some(replicas) = scaled {
                let message = format!("New size: {replicas}");
                let involved = Arc::new(InvolvedObject::of(object));
                recorder.record(&involved, EventType::Normal, RESCALED, &message);
                let target = target(object, spec);
                self.replicas.insert(target.clone(), replicas);
                changed.push(target);
            }
            states.insert(key, own);
        }
        self.states = states;
        changed
    }

    /// `objects`, each with the replicas that its autoscaler decided last. An object
    /// with 0 replicas in its manifest is switched off and stays so.
    pub(super) fn scaled(&self, mut objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
        let targets: Vec<_> = autoscalers(&objects)
            .map(|(object, spec)| target(object, spec))
            .collect();
        for object in &mut objects {
            let key = object.key();
            let wanted = self.replicas.get(&key).filter(|_| targets.contains(&key));
            let written = object.replicas().map(|replicas| replicas.value);
            if let Some(wanted) = wanted
                && written.is_some_and(|written| written != 0 && written != *wanted)
                && let Some(scaled) = object.scaled(*wanted)
            {
                *object = Arc::new(scaled);
            }
        }
        objects
    }

    /// The usage of each pod since the last measurement. New pods have none yet.
    fn measure(&mut self, pods: &[Arc<Pod>], now: Instant) -> HashMap<usize, Usage> {
        let before = std::mem::take(&mut self.counters);
        let mut usage = HashMap::new();
        for pod in pods.iter().filter(|pod| pod.is_ready()) {
            let counters = UsageCounters {
                at: now,
                cpu: pod.cpu_time(),
                requests: pod.requests_served(),
            };
            self.counters.insert(pod.target, counters);
            let Some(before) = before.get(&pod.target) else {
                continue;
            };
            let seconds = (now - before.at).as_secs_f64();
            if seconds > 0.0 {
                let cpu = counters.cpu.saturating_sub(before.cpu).as_secs_f64();
                let requests = counters.requests.saturating_sub(before.requests) as f64;
                let measured = Usage {
                    cpu_cores: cpu / seconds,
                    memory_bytes: pod.status().memory_bytes as f64,
                    requests_per_second: requests / seconds,
                };
                usage.insert(pod.target, measured);
            }
        }
        usage
    }
}

impl AutoscalerState {
    /// Returns the status, and the new number of replicas if it changes.
    fn sync(
        &mut self,
        object: &Object,
        spec: &HorizontalPodAutoscaler,
        objects: &[Arc<Object>],
        workloads: &Workloads,
        usage: &HashMap<usize, Usage>,
        now: Instant,
    ) -> (Value, Option<u32>) {
        let target = target(object, spec);
        let scaled = objects.iter().find(|object| object.key() == target);
        let current = scaled.and_then(|object| object.replicas());
        let Some(current) = current.map(|replicas| replicas.value) else {
            return (status::without_target(&target), None);
        };
        let pods = workloads.pods_of(&target);
        let measured = spec.metrics.iter();
        let metrics: Vec<_> = measured
            .map(|metric| measure(metric, &pods, usage))
            .collect();
        let decision = self.autoscaler.decide(spec, current, &metrics, now);
        let mut wanted = (decision.replicas != current).then_some(decision.replicas);
        let mut refused = None;
        if let Some(replicas) = wanted {
            refused = over_quota(objects, &target, replicas);
            match refused {
                Some(_) => wanted = None,
                None => {
                    tracing::info!(
                        autoscaler = %object.key(), %target, from = current, to = replicas, "scaling"
                    );
                    self.scaled_at = Some(Timestamp::now());
                }
            }
        }
        let report = status::Report {
            spec,
            current,
            pods: pods.len(),
            metrics: &metrics,
            decision,
            refused,
            scaled_at: self.scaled_at,
        };
        (report.json(), wanted)
    }
}

fn autoscalers(
    objects: &[Arc<Object>],
) -> impl Iterator<Item = (&Object, &HorizontalPodAutoscaler)> {
    objects.iter().filter_map(|object| match &object.resource {
        Resource::HorizontalPodAutoscaler(spec) => Some((&**object, spec)),
        _ => None,
    })
}

/// The ResourceQuota that `replicas` would exceed.
fn over_quota(objects: &[Arc<Object>], target: &ObjectKey, replicas: u32) -> Option<String> {
    let grown: Vec<_> = objects
        .iter()
        .map(|object| match object.key() == *target {
            true => object
                .scaled(replicas)
                .map_or_else(|| object.clone(), Arc::new),
            false => object.clone(),
        })
        .collect();
    let quotas = galleria_manifest::quotas(&grown).into_iter();
    let mut exceeded = quotas.filter(|quota| {
        let over = |(name, used): (&String, &galleria_manifest::model::Quantity)| {
            quota
                .hard
                .get(name)
                .is_some_and(|hard| used.millis > hard.millis)
        };
        quota.key.namespace == target.namespace && quota.used.iter().any(over)
    });
    exceeded.next().map(|quota| quota.key.name)
}

/// The object that an autoscaler scales.
fn target(object: &Object, spec: &HorizontalPodAutoscaler) -> ObjectKey {
    ObjectKey {
        group: "apps".into(),
        kind: spec.target_kind.value.clone(),
        namespace: object.metadata.namespace.clone(),
        name: spec.target_name.value.clone(),
    }
}

/// `None` if no pod was measured, or if there is no resource request to compare with.
fn measure(
    metric: &ScalingMetric,
    pods: &[Arc<Pod>],
    usage: &HashMap<usize, Usage>,
) -> Option<MetricReading> {
    let ratios: Vec<f64> = pods
        .iter()
        .filter_map(|pod| ratio(metric, pod, usage.get(&pod.target)?))
        .collect();
    let known = u32::try_from(ratios.len())
        .ok()
        .filter(|known| *known > 0)?;
    Some(MetricReading {
        ratio: ratios.iter().sum::<f64>() / f64::from(known),
        pods: known,
        missing: u32::try_from(pods.len()).ok()?.saturating_sub(known),
    })
}

/// The usage of a pod relative to its target; `None` if its template has no resource
/// request to compare with.
fn ratio(metric: &ScalingMetric, pod: &Pod, usage: &Usage) -> Option<f64> {
    let requests = &pod.plan.container.resources.requests;
    let (used, requested, target) = match metric {
        ScalingMetric::Pods { name, average } => {
            let known = name == REQUESTS_PER_SECOND;
            return known.then(|| usage.requests_per_second / average.as_f64());
        }
        ScalingMetric::Resource { resource, target } => match resource {
            ScaledResource::Cpu => {
                let requested = requests.cpu_millis.map(|millis| millis as f64 / 1000.0);
                (usage.cpu_cores, requested, target)
            }
            ScaledResource::Memory => {
                let requested = requests.memory.map(|bytes| bytes as f64);
                (usage.memory_bytes, requested, target)
            }
        },
    };
    match target {
        ResourceTarget::Utilization(percent) => {
            Some(used / requested? / (f64::from(*percent) / 100.0))
        }
        ResourceTarget::AverageValue(value) => Some(used / value.as_f64()),
    }
}
