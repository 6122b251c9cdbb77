//! Connections that no NetworkPolicy allows: reports them, and decides what the caller sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_mesh::LocalReply;
use galleria_mesh::inbound::network::NetworkDenial;
use tokio::time::sleep;

use crate::settings::topology::NetworkPolicyDeny;
use crate::store::{EventType, InvolvedObject, Recorder, uid};
use crate::workload::FailureLog;

/// The reason of the events.
const REASON: &str = "NetworkPolicyDenied";

/// See the module's documentation.
pub(crate) struct NetworkDenials {
    recorder: Arc<Recorder>,
    deny: NetworkPolicyDeny,
    log: FailureLog,
}

impl NetworkDenials {
    pub(crate) fn new(recorder: Arc<Recorder>, deny: NetworkPolicyDeny) -> Self {
        Self {
            recorder,
            deny,
            log: FailureLog::default(),
        }
    }

    /// The reply to a connection that is denied. With `--network-policy-deny=drop` it comes
    /// after `connect_timeout`, if the caller waits for as long.
    pub(super) async fn deny(
        &self,
        denial: NetworkDenial,
        connect_timeout: Duration,
    ) -> LocalReply {
        self.report(&denial);
        if self.deny == NetworkPolicyDeny::Drop {
            sleep(connect_timeout).await;
        }
        denial.reply
    }

    /// Writes an event of the policy and, unless there are too many, a line of the log.
    pub(crate) fn report(&self, denial: &NetworkDenial) {
        let policy = &denial.policy;
        let given = denial.policy_uid.clone();
        let involved = Arc::new(InvolvedObject {
            api_version: "networking.k8s.io/v1".into(),
            kind: policy.kind.into(),
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
            uid: given.unwrap_or_else(|| uid(policy.kind, &policy.namespace, &policy.name)),
        });
        self.recorder
            .record(&involved, EventType::Warning, REASON, &denial.message);
        let Some(left_out) = self.log.admit(Instant::now()) else {
            return;
        };
        let left_out = (left_out > 0).then_some(left_out);
        let policy = policy.qualified_name();
        tracing::warn!(left_out, policy, reason = REASON, "{}", denial.message);
    }
}
