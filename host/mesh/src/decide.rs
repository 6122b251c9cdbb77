//! The decision about one request: listener, host, rule, destination.
//!
//! In the order in which a request meets them:
//!
//! - [`server_names`] finds the server of a connection with TLS, and [`tls_route`] the
//!   destination of one that is not decrypted;
//! - [`path`] normalises its path; [`request`] is its head and its caller;
//! - [`listener`], [`host`] and [`virtual_host`] find the rules of its host;
//! - [`index`], [`condition`], [`query`] and [`rule`] find the first rule that matches;
//! - [`redirect`], [`cors`] and [`fault`] are the responses that a rule generates without calling an endpoint;
//! - [`forward`] is a request with a destination: [`rewrite`], [`headers`] with their
//!   [`substitution`]s, and [`hash`] apply to it.
//!
//! [`sidecar`] limits which hosts a workload sees, and [`gateway_topology`] is what a gateway
//! believes of its clients.
//! [`snapshot`] holds everything that a decision reads, [`route`] decides, and
//! [`explain`] reports a decision with its reasons.
//!
//! The rule: a decision depends on the snapshot, the head of the request and the
//! random numbers that are passed in. It reads no clock and waits for nothing. Of
//! [`crate::traffic`] it uses only the clusters, and the retry policy of a rule.

pub(crate) mod claim;
pub(crate) mod condition;
pub(crate) mod cors;
pub(crate) mod explain;
pub(crate) mod fault;
pub(crate) mod forward;
pub(crate) mod gateway_topology;
pub(crate) mod hash;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod index;
pub(crate) mod listener;
pub(crate) mod membership;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod redirect;
pub(crate) mod request;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod server_names;
pub(crate) mod sidecar;
pub(crate) mod snapshot;
pub(crate) mod substitution;
pub(crate) mod tls_route;
pub(crate) mod virtual_host;
