//! A decision with its reasons.

use serde::Serialize;

/// Every step of a decision.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {}
