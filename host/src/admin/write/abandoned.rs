//! Objects whose owners do not exist: they end at once, as a cluster's garbage collector ends
//! them a moment later. References to kinds that the API does not serve are left alone.

use std::collections::HashSet;

use galleria_manifest::model::ObjectKey;
use serde_json::Value;

use super::WriteOptions;
use super::dependents::{Deletion, Propagation, owners};
use crate::admin::Api;
use crate::admin::kind::served;
use crate::store::{Source, uid_of};

impl Api {
    /// Deletes an object that was just written if it names owners and none of them exists.
    pub(super) async fn collect_abandoned(&self, options: &WriteOptions, key: &ObjectKey) {
        let Some(stored) = self.store.get(key) else {
            return;
        };
        let owners = owners(&stored.object.raw);
        if options.is_dry_run() || owners.is_empty() || stored.source == Source::Host {
            return;
        }
        let (all, _) = self.store.list();
        let uids: HashSet<_> = all.iter().map(|it| uid_of(&it.object)).collect();
        let is_gone = |owner: &Value| {
            let uid = owner["uid"].as_str().unwrap_or_default();
            is_served(owner) && !uids.contains(uid)
        };
        if !owners.iter().all(is_gone) {
            return;
        }
        let mut deletion = Deletion::new(self, Propagation::Background);
        deletion.delete(&stored);
        // Another client may have changed it, and is then responsible for it.
        if let Err(error) = self.submit(deletion.edits(), false).await {
            tracing::debug!(%error, %key, "an object without its owner was not deleted");
        }
    }
}

fn is_served(owner: &Value) -> bool {
    let api_version = owner["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    served().any(|kind| kind.group == group && owner["kind"] == kind.kind)
}
