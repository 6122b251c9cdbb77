//! LimitRange and ResourceQuota: limits on the pods of a namespace.

use std::collections::BTreeMap;
use std::fmt;

use super::{Quantity, ResourceList, ResourceRequirements};
use crate::Position;

/// Quantities by the name of a resource: `cpu`, `memory`, `requests.cpu`, `pods`.
pub type Quantities = BTreeMap<String, Quantity>;

#[derive(Debug, Clone, Default)]
pub struct LimitRange {
    pub limits: Vec<LimitRangeItem>,
}

#[derive(Debug, Clone)]
pub struct LimitRangeItem {
    pub at: Position,
    pub kind: LimitRangeType,
    /// Limits of containers that set none; by default `max`.
    pub default: Quantities,
    /// Requests of containers that set none; by default `default`, else `min`.
    pub default_request: Quantities,
    pub min: Quantities,
    pub max: Quantities,
    /// The largest ratio of a limit to its request.
    pub max_limit_request_ratio: Quantities,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRangeType {
    Container,
    Pod,
    PersistentVolumeClaim,
}

#[derive(Debug, Clone, Default)]
pub struct ResourceQuota {
    pub hard: Quantities,
    /// Whether it has `scopes` or a `scopeSelector`, which are not supported: such a quota
    /// limits nothing.
    pub is_scoped: bool,
}

/// The priority of a pod when resources are scarce (`status.qosClass`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Limits for CPU and memory, with equal requests.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    BestEffort,
}

impl ResourceRequirements {
    /// Sets each absent request to its limit, as in a cluster.
    pub fn default_requests(&mut self) {
        let Self { requests, limits } = self;
        requests.cpu_millis = requests.cpu_millis.or(limits.cpu_millis);
        requests.memory = requests.memory.or(limits.memory);
        requests.ephemeral_storage = requests.ephemeral_storage.or(limits.ephemeral_storage);
    }

    /// The requested memory in bytes, by default the limit or 0.
    pub fn memory_request(&self) -> u64 {
        let asked = self.requests.memory.or(self.limits.memory);
        asked.unwrap_or_default()
    }

    /// The class of a pod whose only container has these resources.
    pub fn qos_class(&self) -> QosClass {
        let mut asked = self.clone();
        asked.default_requests();
        let ResourceRequirements { requests, limits } = &asked;
        let pair = |list: &ResourceList| (list.cpu_millis, list.memory);
        match (pair(requests), pair(limits)) {
            ((None | Some(0), None | Some(0)), (None | Some(0), None | Some(0))) => {
                QosClass::BestEffort
            }
            (requests, limits @ (Some(_), Some(_))) if requests == limits => QosClass::Guaranteed,
            _ => QosClass::Burstable,
        }
    }
}

impl ResourceList {
    /// The quantity of `resource`, by its name in the API.
    pub fn get(&self, resource: &str) -> Option<Quantity> {
        let bytes = |bytes: u64| Quantity {
            millis: i128::from(bytes) * 1000,
        };
        match resource {
            "cpu" => self.cpu_millis.map(|millis| Quantity {
                millis: i128::from(millis),
            }),
            "memory" => self.memory.map(bytes),
            "ephemeral-storage" => self.ephemeral_storage.map(bytes),
            _ => None,
        }
    }

    /// Sets `resource` if it is absent.
    pub fn set_absent(&mut self, resource: &str, quantity: Quantity) {
        let whole = |millis: i128| u64::try_from((millis + 999) / 1000).unwrap_or(u64::MAX);
        match resource {
            "cpu" => {
                let millis = u64::try_from(quantity.millis).unwrap_or(u64::MAX);
                self.cpu_millis.get_or_insert(millis);
            }
            "memory" => {
                self.memory.get_or_insert(whole(quantity.millis));
            }
            "ephemeral-storage" => {
                self.ephemeral_storage.get_or_insert(whole(quantity.millis));
            }
            _ => {}
        }
    }
}

impl Quantity {
    /// The form of manifests, with the unit of `resource`: `500m`, `64Mi`, `3`.
    pub fn show(self, resource: &str) -> String {
        const BINARY: [(&str, i128); 4] = [
            ("Ti", 1 << 40),
            ("Gi", 1 << 30),
            ("Mi", 1 << 20),
            ("Ki", 1 << 10),
        ];
        let millis = self.millis;
        if millis % 1000 != 0 {
            return format!("{millis}m");
        }
        let whole = millis / 1000;
        let in_bytes = resource.ends_with("memory") || resource.ends_with("storage");
        let unit = BINARY
            .iter()
            .find(|(_, size)| in_bytes && whole != 0 && whole % size == 0);
        match unit {
            Some((unit, size)) => format!("{}{unit}", whole / size),
            None => whole.to_string(),
        }
    }
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(requests: (u64, u64), limits: (u64, u64)) -> QosClass {
        let list = |(cpu, memory): (u64, u64)| ResourceList {
            cpu_millis: (cpu > 0).then_some(cpu),
            memory: (memory > 0).then_some(memory),
            ephemeral_storage: None,
        };
        let resources = ResourceRequirements {
            requests: list(requests),
            limits: list(limits),
        };
        resources.qos_class()
    }

    #[test]
    fn limits_equal_to_requests_are_guaranteed() {
        assert_eq!(asks((500, 64), (500, 64)), QosClass::Guaranteed);
        assert_eq!(asks((0, 0), (500, 64)), QosClass::Guaranteed);
        assert_eq!(asks((250, 64), (500, 64)), QosClass::Burstable);
        assert_eq!(asks((0, 0), (0, 64)), QosClass::Burstable);
        assert_eq!(asks((250, 0), (0, 0)), QosClass::Burstable);
        assert_eq!(asks((0, 0), (0, 0)), QosClass::BestEffort);
    }

    #[test]
    fn quantities_have_the_form_of_manifests() {
        let show = |millis, resource| Quantity { millis }.show(resource);
        assert_eq!(show(500, "requests.cpu"), "500m");
        assert_eq!(show(2_000, "cpu"), "2");
        assert_eq!(show(64 * 1024 * 1024 * 1000, "limits.memory"), "64Mi");
        assert_eq!(show(1_000_000, "memory"), "1000");
        assert_eq!(show(5_000, "pods"), "5");
    }
}
