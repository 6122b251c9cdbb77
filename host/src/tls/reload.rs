//! Client configurations that follow their certificate files.
//!
//! The folders of the files are watched, so that no request looks at a file. A configuration
//! is replaced when its files have new, valid contents; as long as they cannot be used, the
//! previous one stays in use. All files are also read again at an interval, because
//! notifications are not available on every file system, and do not report a change behind a
//! symbolic link to another folder.

pub(super) mod folders;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use self::folders::Folders;
use super::client::{ClientTlsContext, ContentsDigest};
use super::{ClientTlsConfig, TlsError};
use crate::causes::with_causes;

/// Several files are replaced one after the other: changes are gathered for this time.
const GATHER: Duration = Duration::from_millis(100);

/// The longest time for which changes are gathered.
const GATHER_MAX: Duration = Duration::from_secs(1);

/// How often all files are read again without a notification.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The client configurations that are in use, by their settings.
#[derive(Clone)]
pub(crate) struct ClientConfigs(Arc<ClientConfigSet>);

struct ClientConfigSet {
    configs: Mutex<HashMap<ClientTlsContext, Weak<Entry>>>,
    /// A file has changed, or there is another file to follow.
    changed: Arc<Notify>,
    started: OnceLock<()>,
}

/// One configuration, which is replaced when its files change.
struct Entry {
    context: ClientTlsContext,
    current: ArcSwap<ClientConfig>,
    files: Mutex<FileState>,
}

/// Which contents the files had.
struct FileState {
    in_use: ContentsDigest,
    /// The latest contents that could not be used.
    rejected: Option<ContentsDigest>,
    /// The files cannot be used, and the log says so.
    is_broken: bool,
}

/// A configuration as it was when it was loaded. Its files are followed until it is
/// dropped.
#[derive(Clone)]
pub(crate) struct LoadedConfig {
    server_name: ServerName<'static>,
    config: Arc<ClientConfig>,
    entry: Arc<Entry>,
}

impl Default for ClientConfigs {
    fn default() -> Self {
        Self(Arc::new(ClientConfigSet {
            configs: Mutex::default(),
            changed: Arc::new(Notify::new()),
            started: OnceLock::new(),
        }))
    }
}

impl ClientConfigs {
    /// The configuration for `tls`. Its files are read at the first use only.
    ///
    /// # Errors
    /// See [`TlsError`]. Nothing is kept of it: the next call reads the files again.
    pub(crate) async fn load(&self, tls: &ClientTlsConfig) -> Result<LoadedConfig, TlsError> {
        let (context, server_name) = (tls.context(), tls.server_name()?);
        let known = self.0.configs.lock().get(context).and_then(Weak::upgrade);
        if let Some(entry) = known {
            return Ok(entry.loaded(server_name));
        }
        let (config, digest) = context.clone().load().await?;
        let entry = self.0.insert(context.clone(), config, digest);
        if context.files().next().is_some() {
            self.start();
            self.0.changed.notify_one();
        }
        Ok(entry.loaded(server_name))
    }

    /// Starts to follow files, once.
    fn start(&self) {
        self.0.started.get_or_init(|| {
            let (shared, changed) = (Arc::downgrade(&self.0), self.0.changed.clone());
            tokio::spawn(follow(shared, changed));
        });
    }
}

impl LoadedConfig {
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether the files have had no other valid contents since.
    pub(crate) fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.config, &self.entry.current.load())
    }
}

impl ClientConfigSet {
    /// Adds a configuration, unless another caller has added it meanwhile.
    fn insert(
        &self,
        context: ClientTlsContext,
        config: ClientConfig,
        digest: ContentsDigest,
    ) -> Arc<Entry> {
        let mut configs = self.configs.lock();
        configs.retain(|_, entry| entry.strong_count() > 0);
        if let Some(entry) = configs.get(&context).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry {
            context: context.clone(),
            current: ArcSwap::from_pointee(config),
            files: Mutex::new(FileState {
                in_use: digest,
                rejected: None,
                is_broken: false,
            }),
        });
        configs.insert(context, Arc::downgrade(&entry));
        entry
    }

    fn in_use(&self) -> Vec<Arc<Entry>> {
        let configs = self.configs.lock();
        configs.values().filter_map(Weak::upgrade).collect()
    }
}

impl Entry {
    fn loaded(self: Arc<Self>, server_name: ServerName<'static>) -> LoadedConfig {
        LoadedConfig {
            server_name,
            config: self.current.load_full(),
            entry: self,
        }
    }

    /// Reads the files, and replaces the configuration if they have new, valid contents.
    /// Blocks.
    fn reload(&self) {
        let mut files = self.files.lock();
        match self.read_changed(&mut files) {
            Ok(is_new) => {
                if is_new {
                    tracing::info!(
                        files = self.named(),
                        "certificate files have changed; new connections use them"
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut files.is_broken, true) {
                    tracing::warn!(
                        error = with_causes(&error),
                        files = self.named(),
                        "cannot use the changed certificate files; keeping the previous certificates"
                    );
                }
            }
        }
    }

    /// Whether the files had contents that are new and now in use.
    fn read_changed(&self, files: &mut FileState) -> Result<bool, TlsError> {
        let contents = self.context.read()?;
        let digest = contents.digest();
        if files.rejected == Some(digest) {
            return Ok(false);
        }
        let is_new = digest != files.in_use;
        if is_new {
            files.rejected = Some(digest);
            self.current.store(Arc::new(self.context.build(&contents)?));
        }
        *files = FileState {
            in_use: digest,
            rejected: None,
            is_broken: false,
        };
        Ok(is_new)
    }

    fn named(&self) -> String {
        let files = self.context.files();
        let files: Vec<_> = files.map(|it| it.path().display().to_string()).collect();
        files.join(", ")
    }
}

/// Waits until files are to be read again: soon after a notification, when the other files of
/// the change are replaced too, or after an interval.
pub(crate) async fn wait_for_change(changed: &Notify) {
    if timeout(READ_AGAIN, changed.notified()).await.is_ok() {
        let until = Instant::now() + GATHER_MAX;
        while Instant::now() < until
            && timeout_at(until.min(Instant::now() + GATHER), changed.notified())
                .await
                .is_ok()
        {}
    }
}

/// Follows the files for as long as the configurations exist.
async fn follow(shared: Weak<ClientConfigSet>, changed: Arc<Notify>) {
    let mut folders = Folders::new(&changed);
    loop {
        wait_for_change(&changed).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let reloading = tokio::task::spawn_blocking(move || {
            let configs = shared.in_use();
            // The folders first: what changes after that is notified.
            folders.watch(configs.iter().flat_map(|entry| entry.context.files()));
            for entry in &configs {
                entry.reload();
            }
            folders
        });
        match reloading.await {
            Ok(watched) => folders = watched,
            // The host is stopping.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use galleria_manifest::Position;
    use galleria_manifest::model::{ClientTls, ClientTlsMode};

    use super::*;
    use crate::tls::SelfSignedCertificate;

    fn identity() -> SelfSignedCertificate {
        SelfSignedCertificate::new(&["localhost"]).expect("a certificate")
    }

    fn mutual(folder: &Path) -> ClientTlsConfig {
        let file = |name: &str| Some(folder.join(name).display().to_string());
        let tls = ClientTls {
            mode: ClientTlsMode::Mutual,
            ca_certificates: file("ca.pem"),
            client_certificate: file("client.pem"),
            private_key: file("client.key"),
            at: Position::new("test.yaml", 1, 1),
            sni: None,
            credential_name: None,
            subject_alt_names: Vec::new(),
            insecure_skip_verify: false,
        };
        ClientTlsConfig::originated(&tls, "localhost")
    }

    fn write(folder: &Path, identity: &SelfSignedCertificate) {
        fs::write(folder.join("ca.pem"), &identity.certificate).expect("a file");
        fs::write(folder.join("client.pem"), &identity.certificate).expect("a file");
        fs::write(folder.join("client.key"), &identity.key).expect("a file");
    }

    async fn replaced(loaded: &LoadedConfig) {
        while loaded.is_current() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn changed_files_replace_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &identity());
        let configs = ClientConfigs::default();
        let tls = mutual(folder.path());
        let first = configs.load(&tls).await.expect("a configuration");
        assert!(first.is_current());
        write(folder.path(), &identity());
        let waiting = timeout(READ_AGAIN / 2, replaced(&first)).await;
        assert!(waiting.is_ok(), "by notification, not by reading again");
        let second = configs.load(&tls).await.expect("a configuration");
        assert!(second.is_current());
    }

    #[tokio::test]
    async fn unusable_files_keep_the_previous_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (identity(), identity());
        write(folder.path(), &old);
        let configs = ClientConfigs::default();
        let tls = mutual(folder.path());
        let loaded = configs.load(&tls).await.expect("a configuration");
        let entry = &loaded.entry;
        let break_and_reload = |name: &str, contents: &str| {
            fs::write(folder.path().join(name), contents).expect("a file");
            entry.reload();
        };
        // Half of a rotation: the key does not belong to the certificate.
        break_and_reload("client.pem", &new.certificate);
        assert!(loaded.is_current() && entry.files.lock().is_broken);
        break_and_reload("ca.pem", "nonsense");
        fs::remove_file(folder.path().join("client.key")).expect("a file");
        entry.reload();
        assert!(loaded.is_current() && entry.files.lock().is_broken);
        write(folder.path(), &old);
        entry.reload();
        assert!(loaded.is_current() && !entry.files.lock().is_broken);
        write(folder.path(), &new);
        entry.reload();
        assert!(!loaded.is_current());
    }

    #[tokio::test]
    async fn settings_share_a_configuration_only_if_they_differ_in_nothing_but_the_server() {
        let configs = ClientConfigs::default();
        let one = ClientTlsConfig::public("one.example.com");
        let other = ClientTlsConfig::public("other.example.com");
        let insecure = ClientTlsConfig::database("one.example.com", None, true);
        let loaded = configs.load(&one).await.expect("a configuration");
        let shares = async |tls: &ClientTlsConfig| {
            let other = configs.load(tls).await.expect("a configuration");
            Arc::ptr_eq(&loaded.config, &other.config)
        };
        assert!(shares(&other).await);
        assert!(!shares(&insecure).await);
    }

    #[tokio::test]
    async fn missing_file_is_read_again_at_the_next_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let configs = ClientConfigs::default();
        let tls = mutual(folder.path());
        let missing = configs.load(&tls).await.err().expect("no files");
        assert!(missing.to_string().contains("ca.pem"), "{missing}");
        write(folder.path(), &identity());
        assert!(configs.load(&tls).await.is_ok());
    }
}
