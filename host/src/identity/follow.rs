//! Follows the files of a shared authority: a host uses new files without a restart, and renews
//! the intermediate if it has the key of the root.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::authority::timestamp;
use super::failure::CaError;
use super::folder::{self, Contents, ISTIO};
use super::{Identities, lifecycle};
use crate::causes::with_causes;
use crate::tls::{Folders, PemFile, wait_for_change};

/// An authority that is not renewed is reported this long before it expires.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

/// The folder of a shared authority.
pub(super) struct Source {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// The contents that are in use.
    digest: [u8; 32],
    /// The labels of its certificate and its roots in metrics.
    labels: [String; 2],
    /// The problem that the log has.
    reported: Option<String>,
}

impl Source {
    pub(super) fn new(folder: &Path, contents: &Contents) -> Self {
        Self {
            folder: folder.into(),
            state: Mutex::new(State {
                digest: contents.digest,
                labels: labels(folder, contents),
                reported: None,
            }),
        }
    }

    pub(super) fn labels(&self) -> [String; 2] {
        self.state.lock().labels.clone()
    }

    /// Reads the files, and renews the intermediate. Blocks.
    pub(super) fn refresh(&self, identities: &Identities, now: SystemTime) {
        let mut state = self.state.lock();
        let problem = match self.follow(&mut state, identities, now) {
            Ok(()) => None,
            Err(error) => Some(with_causes(&error)),
        };
        if let Some(error) = &problem
            && state.reported != problem
        {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "problem with the certificate authority; the host keeps the one in use");
        }
        state.reported = problem;
    }

    fn follow(
        &self,
        state: &mut State,
        identities: &Identities,
        now: SystemTime,
    ) -> Result<(), CaError> {
        let contents = self.apply(state, identities, now)?;
        let authority = identities.authority.load();
        if lifecycle::is_renewal_due(&authority, now) && contents.renews() {
            lifecycle::renew(&self.folder, now)?;
            self.apply(state, identities, now)?;
        }
        let authority = identities.authority.load();
        // One with a short life is not late before it should have been renewed.
        let chain = lifecycle::is_renewal_due(&authority, now).then(|| authority.chain_end());
        let ends = [
            (contents.certificate_file(), chain),
            (contents.roots_file(), Some(authority.roots_end())),
        ];
        let soon = now + EXPIRES_SOON;
        let mut ends = ends
            .into_iter()
            .filter_map(|(file, end)| Some((file, end?)));
        match ends.find(|(_, end)| *end < soon) {
            Some((file, end)) => Err(CaError::ExpiresSoon {
                file,
                end: timestamp(end),
            }),
            None => Ok(()),
        }
    }

    /// Uses the files if they have new contents.
    fn apply(
        &self,
        state: &mut State,
        identities: &Identities,
        now: SystemTime,
    ) -> Result<Contents, CaError> {
        let contents = folder::read_existing(&self.folder)?;
        if contents.digest != state.digest {
            let authority = contents.authority(now)?;
            let roots = authority.roots().len();
            state.digest = contents.digest;
            state.labels = labels(&self.folder, &contents);
            identities.replace(authority);
            let folder = self.folder.display();
            tracing::info!(%folder, roots, "the files of the certificate authority have changed; new connections use them");
        }
        Ok(contents)
    }
}

fn labels(folder: &Path, contents: &Contents) -> [String; 2] {
    let form = contents.form;
    [form.certificate, form.roots].map(|name| folder.join(name).display().to_string())
}

/// Follows the files for as long as the identities exist.
pub(super) async fn follow(identities: Weak<Identities>, folder: PathBuf) {
    let changed = Arc::new(Notify::new());
    let mut folders = Folders::new(&changed);
    // Any file: the folder is watched.
    let file = PemFile::new(folder.join(ISTIO.certificate));
    loop {
        let Some(identities) = identities.upgrade() else {
            return;
        };
        let file = file.clone();
        let refreshing = tokio::task::spawn_blocking(move || {
            // The folder first: what changes after that is notified.
            folders.watch(std::iter::once(&file));
            identities.refresh(SystemTime::now());
            folders
        });
        match refreshing.await {
            Ok(watched) => folders = watched,
            // The host is stopping.
            Err(_) => return,
        }
        wait_for_change(&changed).await;
    }
}
