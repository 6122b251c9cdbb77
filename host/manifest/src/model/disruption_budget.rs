//! PodDisruptionBudget.

use super::{IntOrPercent, LabelSelector};

#[derive(Debug, Clone)]
pub struct PodDisruptionBudget {
    pub selector: LabelSelector,
    pub bound: DisruptionBound,
}

/// Of the pods that their controllers want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisruptionBound {
    MinAvailable(IntOrPercent),
    MaxUnavailable(IntOrPercent),
}
