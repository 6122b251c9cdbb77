//! `metrics.k8s.io`: the CPU and memory of pods and of the node, for `kubectl top`. CPU is
//! the average over the last one or two periods.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::failure::Failure;
use super::list::Options;
use super::path::Resource;
use super::selector::Selector;
use crate::workload::{NODE_NAME, Pod, PodRegistry};

/// The period of measurements, that of the metrics server.
const PERIOD: Duration = Duration::from_secs(15);

/// Two samples of the CPU time of all pods: the average is since the older one.
pub(super) struct Usage {
    registry: Arc<PodRegistry>,
    samples: Mutex<[Sample; 2]>,
}

/// The CPU time of each pod, by its number in the mesh.
#[derive(Clone)]
struct Sample {
    at: Instant,
    cpu: HashMap<usize, Duration>,
}

impl Usage {
    /// Takes samples until it is dropped.
    pub(super) fn start(registry: Arc<PodRegistry>) -> Arc<Self> {
        let now = Sample::of(&registry.all());
        let usage = Arc::new(Self {
            registry,
            samples: Mutex::new([now.clone(), now]),
        });
        tokio::spawn(measure(Arc::downgrade(&usage)));
        usage
    }

    /// The objects of `resource` that match the selectors.
    pub(super) fn objects(
        &self,
        resource: &Resource,
        options: &Options,
    ) -> Result<Vec<Value>, Failure> {
        let selector = Selector::new(
            resource.kind,
            &options.label_selector,
            &options.field_selector,
        )?;
        let mut objects = match resource.kind.kind {
            "NodeMetrics" => vec![self.node()],
            _ => self.pods(),
        };
        let within = resource.namespace.as_deref();
        objects.retain(|object| {
            let metadata = &object["metadata"];
            within.is_none_or(|namespace| metadata["namespace"] == namespace)
                && resource
                    .name
                    .as_deref()
                    .is_none_or(|name| metadata["name"] == name)
                && selector.matches(object)
        });
        Ok(objects)
    }

    fn pods(&self) -> Vec<Value> {
        let (before, now) = (self.before(), Instant::now());
        let window = now - before.at;
        let pods = self.registry.all();
        let object = |pod: &Arc<Pod>| {
            let identity = &pod.plan.identity;
            let metadata = json!({
                "name": pod.name,
                "namespace": identity.namespace,
                "labels": pod.plan.template.labels,
            });
            let used = json!({
                "name": pod.plan.container.name.value,
                "usage": shown(cores(pod, &before, window), pod.status().memory_bytes),
            });
            json!({
                "apiVersion": "metrics.k8s.io/v1beta1",
                "kind": "PodMetrics",
                "metadata": metadata,
                "timestamp": Timestamp::now(),
                "window": format!("{:.1}s", window.as_secs_f64()),
                "containers": [used],
            })
        };
        pods.iter().map(object).collect()
    }

    fn node(&self) -> Value {
        let (before, now) = (self.before(), Instant::now());
        let window = now - before.at;
        let pods = self.registry.all();
        let cpu = pods.iter().map(|pod| cores(pod, &before, window)).sum();
        let memory = pods.iter().map(|pod| pod.status().memory_bytes).sum();
        json!({
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "NodeMetrics",
            "metadata": {"name": NODE_NAME},
            "timestamp": Timestamp::now(),
            "window": format!("{:.1}s", window.as_secs_f64()),
            "usage": shown(cpu, memory),
        })
    }

    fn before(&self) -> Sample {
        let samples = self.samples.lock();
        samples[0].clone()
    }
}

async fn measure(usage: Weak<Usage>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(usage) = usage.upgrade() else {
            return;
        };
        let now = Sample::of(&usage.registry.all());
        let mut samples = usage.samples.lock();
        samples.swap(0, 1);
        samples[1] = now;
    }
}

impl Sample {
    fn of(pods: &[Arc<Pod>]) -> Self {
        let cpu = pods.iter().map(|pod| (pod.target, pod.cpu_time()));
        Self {
            at: Instant::now(),
            cpu: cpu.collect(),
        }
    }
}

/// The average number of cores in use. A pod that started after the sample began at zero.
fn cores(pod: &Pod, before: &Sample, window: Duration) -> f64 {
    let known = before.cpu.get(&pod.target).copied().unwrap_or_default();
    let used = pod.cpu_time().saturating_sub(known).as_secs_f64();
    match window.is_zero() {
        true => 0.0,
        false => used / window.as_secs_f64(),
    }
}

fn shown(cores: f64, memory: u64) -> Value {
    json!({
        "cpu": format!("{}n", (cores * 1e9).round() as u64),
        "memory": format!("{}Ki", memory >> 10),
    })
}
