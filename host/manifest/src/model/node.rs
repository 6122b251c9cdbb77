//! The node, and which pods it accepts.

/// The name of the only node.
pub const NODE_NAME: &str = "galleria";

/// The node that the host is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `kubectl cordon`: no further pods start.
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

/// Keeps pods away that do not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: TaintEffect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaintEffect {
    NoSchedule,
    /// No effect on a single node, which is always the least unsuitable one.
    PreferNoSchedule,
    /// Pods that run already are evicted.
    NoExecute,
}

/// A taint that a pod tolerates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// `None`: every key.
    pub key: Option<String>,
    /// `None`: every value (`operator: Exists`).
    pub value: Option<String>,
    /// `None`: every effect.
    pub effect: Option<TaintEffect>,
}

/// The taint of a node that is unschedulable.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

impl Node {
    /// Why pods with these tolerations do not start, as a scheduler says it; `None` if they
    /// do.
    pub fn refusal(&self, tolerations: &[Toleration]) -> Option<String> {
        let cordon = Taint {
            key: UNSCHEDULABLE.to_owned(),
            value: String::new(),
            effect: TaintEffect::NoSchedule,
        };
        let reason = if self.unschedulable && !cordon.is_tolerated(tolerations) {
            "were unschedulable".to_owned()
        } else {
            let mut taints = self.taints.iter();
            let taint = taints.find(|taint| {
                taint.effect != TaintEffect::PreferNoSchedule && !taint.is_tolerated(tolerations)
            })?;
            format!("had untolerated taint {{{}: {}}}", taint.key, taint.value)
        };
        Some(format!("0/1 nodes are available: 1 node(s) {reason}."))
    }

    /// Whether running pods with these tolerations must leave.
    pub fn evicts(&self, tolerations: &[Toleration]) -> bool {
        self.taints
            .iter()
            .any(|taint| taint.effect == TaintEffect::NoExecute && !taint.is_tolerated(tolerations))
    }
}

impl Toleration {
    /// Tolerates that the node is unschedulable.
    pub fn of_unschedulable() -> Self {
        Self {
            key: Some(UNSCHEDULABLE.to_owned()),
            value: None,
            effect: Some(TaintEffect::NoSchedule),
        }
    }
}

impl Taint {
    fn is_tolerated(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|it| {
            it.key.as_ref().is_none_or(|key| *key == self.key)
                && it.value.as_ref().is_none_or(|value| *value == self.value)
                && it.effect.is_none_or(|effect| effect == self.effect)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: TaintEffect) -> Taint {
        Taint {
            key: key.into(),
            value: value.into(),
            effect,
        }
    }

    fn toleration(key: Option<&str>, value: Option<&str>) -> Toleration {
        Toleration {
            key: key.map(Into::into),
            value: value.map(Into::into),
            effect: None,
        }
    }

    #[test]
    fn pods_start_if_they_tolerate_every_taint() {
        let mut node = Node::default();
        assert_eq!(node.refusal(&[]), None);
        node.taints = vec![taint("a", "1", TaintEffect::PreferNoSchedule)];
        assert_eq!(node.refusal(&[]), None);
        node.taints.push(taint("b", "1", TaintEffect::NoSchedule));
        let refusal = "0/1 nodes are available: 1 node(s) had untolerated taint {b: 1}.";
        assert_eq!(node.refusal(&[]).as_deref(), Some(refusal));
        for other in [
            toleration(Some("a"), None),
            toleration(Some("b"), Some("2")),
        ] {
            assert!(node.refusal(&[other]).is_some());
        }
        let everything = [toleration(None, None)];
        let own = [toleration(Some("b"), Some("1"))];
        assert_eq!(node.refusal(&own), None);
        assert!(!node.evicts(&[]));

        node.unschedulable = true;
        let refusal = "0/1 nodes are available: 1 node(s) were unschedulable.";
        assert_eq!(node.refusal(&own).as_deref(), Some(refusal));
        assert_eq!(node.refusal(&everything), None);
        let cordoned = [toleration(Some(UNSCHEDULABLE), None), own[0].clone()];
        assert_eq!(node.refusal(&cordoned), None);

        node.taints = vec![taint("c", "", TaintEffect::NoExecute)];
        assert!(node.evicts(&own));
        assert!(!node.evicts(&everything));
    }
}
