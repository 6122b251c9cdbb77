//! PodDisruptionBudget.

use super::{IntOrPercent, LabelSelector};

#[derive(Debug, Clone)]
pub struct PodDisruptionBudget {
    pub selector: LabelSelector,
    pub bound: DisruptionBound,
}

/// A count, or a percentage of the replicas of the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisruptionBound {
    MinAvailable(IntOrPercent),
    MaxUnavailable(IntOrPercent),
}
