//! Authorization: who may do what.
//!
//! A request that an AUDIT rule matches is recorded. One that a DENY rule matches is
//! denied. If ALLOW policies select the workload, a request that no ALLOW rule matches is
//! denied too. A policy with the annotation `istio.io/dry-run` is evaluated and never
//! decides.
//!
//! What a request does not have never matches: without an identity, `principals` does not
//! match, and `notPrincipals` does. What this host cannot know of a request counts against
//! it (`authorization/condition.rs`).

pub(super) mod caller;
pub(crate) mod condition;
mod explain;
pub(super) mod header;
mod path_template;
pub(crate) mod rule;
pub(crate) mod rule_set;
mod text;

pub use explain::{AuthorizationStep, PolicyStep};

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use self::caller::{Connection, Facts};
use self::rule::Rule;
use self::rule_set::RuleSet;
use super::external::ExtAuthzProvider;
use super::{InboundPolicies, InboundRequest, Peer};
use crate::{LocalReply, RequestHead, Workload};

/// The rules of the policies that select a workload, by what they do.
#[derive(Debug, Default)]
pub(crate) struct AuthorizationPolicies {
    pub(crate) enforced: Actions,
    /// The service that decides about requests that a CUSTOM rule matches; `None` if there
    /// is none that can be asked.
    pub(crate) provider: Option<Arc<ExtAuthzProvider>>,
    /// The rules of policies that only report what they would do.
    pub(crate) dry_run: Actions,
}

/// Rules by action.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) custom: RuleSet,
    pub(crate) audit: RuleSet,
    pub(crate) deny: RuleSet,
    /// `None` if no ALLOW policy selects the workload: everything is allowed.
    pub(crate) allow: Option<RuleSet>,
}

/// What a policy says about a request without deciding about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// An AUDIT rule matches.
    Audited(Arc<Rule>),
    /// What a dry-run policy with this action would do.
    DryRun {
        action: DryRunAction,
        is_denied: bool,
        /// `None` if no rule matches.
        rule: Option<Arc<Rule>>,
    },
}

/// The action of a dry-run policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DryRunAction {
    Allow,
    Deny,
}

/// Decides whether the peer may make the request: DENY, then ALLOW.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(policies: &InboundPolicies, request: &InboundRequest<'_>) -> Result<(), LocalReply> {
    let enforced = &policies.authorization.enforced;
    if enforced.is_empty() {
        return Ok(());
    }
    let facts = Facts::new(request);
    if let Some(rule) = enforced.deny.first_match(&facts) {
        return Err(LocalReply::access_denied(&rule.name));
    }
    match &enforced.allow {
        Some(allow) if allow.first_match(&facts).is_none() => {
            Err(LocalReply::access_denied("none"))
        }
        _ => Ok(()),
    }
}

/// Decides about a connection to the gateway that is passed through without being decrypted.
/// As in Istio, conditions on requests count against it: they hold in rules that forbid, and
/// not in rules that allow. There is no request about which a service could be asked, so a
/// CUSTOM rule that matches denies.
///
/// # Errors
/// The rule that denies, in the details.
pub fn decide_connection(
    policies: &InboundPolicies,
    gateway: &Workload,
    port: u16,
    source_ip: Option<IpAddr>,
    server_name: Option<&str>,
) -> Result<(), LocalReply> {
    let enforced = &policies.authorization.enforced;
    if enforced.is_empty() {
        return Ok(());
    }
    let headers = HeaderMap::new();
    let request = InboundRequest {
        destination: gateway,
        port,
        peer: &Peer::Unknown,
        head: RequestHead {
            method: &Method::CONNECT,
            scheme: "tcp",
            authority: server_name.unwrap_or_default(),
            path: "",
            query: None,
            headers: &headers,
            source_ip,
        },
        principal: None,
    };
    let facts = Facts::of_connection(&request, Connection { server_name });
    let mut forbidding = [&enforced.custom, &enforced.deny].into_iter();
    if let Some(rule) = forbidding.find_map(|rules| rules.first_match(&facts)) {
        return Err(LocalReply::access_denied(&rule.name));
    }
    match &enforced.allow {
        Some(allow) if allow.first_match(&facts).is_none() => {
            Err(LocalReply::access_denied("none"))
        }
        _ => Ok(()),
    }
}

/// What policies report about the request: AUDIT, and those that are not enforced.
pub fn observe(policies: &InboundPolicies, request: &InboundRequest<'_>) -> Vec<Observation> {
    let AuthorizationPolicies {
        enforced, dry_run, ..
    } = &*policies.authorization;
    let mut observations = Vec::new();
    if enforced.audit.is_empty() && dry_run.is_empty() {
        return observations;
    }
    let facts = Facts::new(request);
    let audited = enforced.audit.first_match(&facts);
    observations.extend(audited.cloned().map(Observation::Audited));
    if !dry_run.deny.is_empty() {
        let rule = dry_run.deny.first_match(&facts).cloned();
        observations.push(Observation::DryRun {
            action: DryRunAction::Deny,
            is_denied: rule.is_some(),
            rule,
        });
    }
    if let Some(allow) = &dry_run.allow {
        let rule = allow.first_match(&facts).cloned();
        observations.push(Observation::DryRun {
            action: DryRunAction::Allow,
            is_denied: rule.is_none(),
            rule,
        });
    }
    observations
}

impl AuthorizationPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        self.enforced.is_empty() && self.dry_run.is_empty()
    }
}

impl Actions {
    fn is_empty(&self) -> bool {
        self.custom.is_empty()
            && self.audit.is_empty()
            && self.deny.is_empty()
            && self.allow.is_none()
    }
}
