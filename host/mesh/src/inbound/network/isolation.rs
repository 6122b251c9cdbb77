//! One direction of a workload's connections that at least one policy governs.

use std::fmt;
use std::sync::Arc;

use galleria_manifest::model::IpBlock;

use super::rule::{PeerRule, Rule, Surroundings};
use super::{NetworkDenial, Party};
use crate::{LocalReply, ObjectRef, Workload};

/// Policies that a denial names; the others are counted.
const NAMED_MAX: usize = 3;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Isolation {
    pub(crate) direction: Direction,
    /// `namespace/name` of the workload.
    pub(crate) workload: String,
    /// The oldest policy that governs the direction.
    pub(crate) first: GoverningPolicy,
    pub(crate) others: Vec<GoverningPolicy>,
    pub(crate) around: Arc<Surroundings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// A policy with its rules for one direction.
#[derive(Debug, Clone)]
pub(crate) struct GoverningPolicy {
    pub(crate) object: Arc<ObjectRef>,
    pub(crate) uid: Option<String>,
    pub(crate) rules: Arc<[Rule]>,
}

impl Isolation {
    /// Decides about a connection between the workload and `party`, to `port` of
    /// `destination`, which is one of the two.
    ///
    /// # Errors
    /// The denial of a connection that no policy allows.
    pub(crate) fn decide(
        &self,
        party: &Party<'_>,
        destination: &Workload,
        port: u16,
    ) -> Result<(), Box<NetworkDenial>> {
        match self.allowed_by(party, destination, port) {
            Some(_) => Ok(()),
            None => Err(self.denial(party, port)),
        }
    }

    /// The first policy with a rule that allows the connection.
    pub(crate) fn allowed_by(
        &self,
        party: &Party<'_>,
        destination: &Workload,
        port: u16,
    ) -> Option<&ObjectRef> {
        let allows = |rule: &Rule| rule.allows(party, destination, port, &self.around);
        let policy = self
            .policies()
            .find(|policy| policy.rules.iter().any(allows))?;
        Some(&policy.object)
    }

    /// The addresses outside the mesh that the rules allow on `port`; `None` means all.
    pub(crate) fn blocks(&self, port: u16) -> Option<Arc<[IpBlock]>> {
        let rules = self.policies().flat_map(|policy| policy.rules.iter());
        let mut blocks = Vec::new();
        for rule in rules.filter(|rule| rule.applies_outside(port, &self.around)) {
            if rule.peers.is_empty() {
                return None;
            }
            blocks.extend(rule.peers.iter().filter_map(|peer| match peer {
                PeerRule::Block(block) => Some(block.clone()),
                PeerRule::Pods { .. } => None,
            }));
        }
        Some(blocks.into())
    }

    fn policies(&self) -> impl Iterator<Item = &GoverningPolicy> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn denial(&self, party: &dyn fmt::Display, port: u16) -> Box<NetworkDenial> {
        let names = self.policies().take(NAMED_MAX);
        let names: Vec<String> = names.map(|it| it.object.qualified_name()).collect();
        let more = match (1 + self.others.len()).saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(",+{more}"),
        };
        let names = format!("{}{more}", names.join(","));
        let (direction, own) = (self.direction, &self.workload);
        let (from, to): (&dyn fmt::Display, &dyn fmt::Display) = match direction {
            Direction::Ingress => (party, own),
            Direction::Egress => (own, party),
        };
        Box::new(NetworkDenial {
            reply: LocalReply::network_policy_denied(format!(
                "network_policy_denied{{{direction}:{names}}}"
            )),
            policy: ObjectRef::clone(&self.first.object),
            policy_uid: self.first.uid.clone(),
            message: format!(
                "no {direction} rule of NetworkPolicy {names} allows {from} to connect to {to} on port {port}"
            ),
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}
