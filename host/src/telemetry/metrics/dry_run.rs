//! What authorization policies that are not enforced would do.

use galleria_mesh::inbound::authorization::DryRunAction;
use prometheus::IntCounter;

use super::names;
use super::register::Register;

/// Requests that dry-run policies have judged.
pub(crate) struct DryRuns {
    allow: Results,
    deny: Results,
}

struct Results {
    allowed: IntCounter,
    denied: IntCounter,
}

impl DryRuns {
    pub(super) fn new(register: &mut Register) -> Self {
        let counters = register.counters(&names::AUTHORIZATION_DRY_RUNS);
        let results = |action| Results {
            allowed: counters.with_label_values(&[action, "allowed"]),
            denied: counters.with_label_values(&[action, "denied"]),
        };
        Self {
            allow: results("allow"),
            deny: results("deny"),
        }
    }

    pub(crate) fn count(&self, action: DryRunAction, is_denied: bool) {
        let results = match action {
            DryRunAction::Allow => &self.allow,
            DryRunAction::Deny => &self.deny,
        };
        let counter = if is_denied {
            &results.denied
        } else {
            &results.allowed
        };
        counter.inc();
    }
}
