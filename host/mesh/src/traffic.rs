//! What happens between a decision and its endpoints: limits, load balancing,
//! outlier detection and retries. This is `trafficPolicy` of a DestinationRule.
//!
//! A [`cluster`] is one destination of a snapshot. It admits a call ([`admit`]), picks an
//! endpoint for each attempt ([`balance`]), learns how the attempt ended ([`outcome`],
//! [`eject`]), and the call is retried or not ([`retry`]). What a caller learns about a
//! cluster outlives the snapshot: it is in [`state`], with the counters of [`count`].
//!
//! The rule: nothing here uses [`crate::decide`], so nothing depends on requests or rules.
//! Time and random numbers are passed in.

pub(crate) mod admit;
pub(crate) mod balance;
pub(crate) mod cluster;
pub(crate) mod count;
pub(crate) mod eject;
pub(crate) mod outcome;
pub(crate) mod retry;
pub(crate) mod state;
