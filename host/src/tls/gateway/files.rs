//! The certificate files of gateways, watched for changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::GatewayTls;
use crate::tls::reload::folders::Folders;

/// Several files are replaced one after the other: changes are gathered for this time.
const GATHER: Duration = Duration::from_millis(100);

/// Notifies of changed files.
pub(crate) struct GatewayFiles {
    changed: Arc<Notify>,
    /// None as long as no gateway has files.
    folders: Option<Folders>,
}

impl Default for GatewayFiles {
    fn default() -> Self {
        Self {
            changed: Arc::new(Notify::new()),
            folders: None,
        }
    }
}

impl GatewayFiles {
    /// Watches the folders of the files of `tls`. Blocks.
    pub(crate) fn watch(&mut self, tls: &GatewayTls) {
        if self.folders.is_none() && tls.files().next().is_none() {
            return;
        }
        let changed = &self.changed;
        let folders = self.folders.get_or_insert_with(|| Folders::new(changed));
        folders.watch(tls.files());
    }

    /// Waits for a change. Not every file system reports them.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the other files of a change are replaced too.
    pub(crate) async fn gather(&self) {
        tokio::time::sleep(GATHER).await;
    }
}
