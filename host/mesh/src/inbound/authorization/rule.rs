//! One rule of a policy.

use std::sync::Arc;

use galleria_manifest::Position;

use super::caller::Facts;
use super::condition::Condition;
use crate::ObjectRef;

/// A rule. Its sources, its operations and its conditions must all match.
#[derive(Debug)]
pub struct Rule {
    /// As in Istio: `ns[NAMESPACE]-policy[NAME]-rule[NUMBER]`.
    pub name: String,
    pub policy: Arc<ObjectRef>,
    pub at: Position,
    /// Any of them must match; empty if every source matches.
    pub(crate) sources: Vec<Vec<Condition>>,
    /// Any of them must match; empty if every operation matches.
    pub(crate) operations: Vec<Vec<Condition>>,
    pub(crate) when: Vec<Condition>,
}

impl Rule {
    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        any(&self.operations, facts) && any(&self.sources, facts) && all(&self.when, facts)
    }
}

/// Two rules with the same name and position are the same rule.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.at == other.at
    }
}

impl Eq for Rule {}

fn any(alternatives: &[Vec<Condition>], facts: &Facts<'_>) -> bool {
    alternatives.is_empty() || alternatives.iter().any(|it| all(it, facts))
}

fn all(conditions: &[Condition], facts: &Facts<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(facts))
}
