//! How much may be in a volume, asked before it is written.
//!
//! The account of a volume counts up with what its guests are about to write,
//! and never down: what was removed meanwhile is found by measuring, when
//! somebody would get nothing else. So nothing can be written over the limit
//! between two measurements, and no order of writes, cuts and removals makes the
//! account too low.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::floor::DiskFloor;
use super::usage::{ENTRIES_MAX, ENTRY_BYTES, Usage};

/// A volume is measured again after this, at the earliest.
const MEASURE_PAUSE_MIN: Duration = Duration::from_millis(20);

/// And after so many times what the last measurement took: a guest that is
/// always at its limit keeps the disk busy a fifth of the time.
const MEASURE_PAUSE_FACTOR: u32 = 4;

/// The account of one volume, shared by every pod that mounts it.
#[derive(Debug)]
pub(crate) struct VolumeQuota {
    /// What is measured: the volume's folder, and what belongs to it elsewhere.
    folders: Mutex<Vec<PathBuf>>,
    limit: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// Of `bytes` and `entries`: what is being written, and may not be found by
    /// measuring yet.
    bytes_pending: AtomicU64,
    entries_pending: AtomicU64,
    floor: Arc<DiskFloor>,
    /// Of all emptyDirs of the pod together.
    above: Option<Arc<VolumeQuota>>,
    /// Files that are open: one that was removed takes its space until it is closed.
    open: Mutex<Vec<Weak<File>>>,
    measured: tokio::sync::Mutex<Option<Measured>>,
    /// Whether somebody wanted more than the limit.
    exceeded: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    took: Duration,
}

/// Room that was taken for what is about to be written; to be kept until it is.
#[derive(Debug)]
#[must_use = "what is not written yet is kept in the account by this"]
pub(crate) struct Reservation {
    /// None where nothing had to be taken.
    quota: Option<Arc<VolumeQuota>>,
    bytes: u64,
    entries: u64,
}

/// There is no room in the volume, or on its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no space left in the volume")]
pub(crate) struct Full;

impl VolumeQuota {
    /// The account of the volume in `folder`, which holds up to `limit` bytes.
    /// Nothing is counted until it is measured.
    pub(crate) fn new(
        folder: &Path,
        limit: u64,
        floor: &Arc<DiskFloor>,
        above: Option<Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(above) = &above {
            above.also_counts(folder);
        }
        Arc::new(Self {
            folders: Mutex::new(vec![folder.into()]),
            limit: AtomicU64::new(limit),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            bytes_pending: AtomicU64::new(0),
            entries_pending: AtomicU64::new(0),
            floor: floor.clone(),
            above,
            open: Mutex::default(),
            measured: tokio::sync::Mutex::default(),
            exceeded: AtomicBool::new(false),
        })
    }

    /// An account over those of several volumes.
    pub(crate) fn over_all(limit: u64, floor: &Arc<DiskFloor>) -> Arc<Self> {
        let quota = Self::new(Path::new(""), limit, floor, None);
        quota.folders().clear();
        quota
    }

    /// Measures `folder` too, whose content lies outside of the volume and is its
    /// own, as databases are.
    pub(crate) fn also_counts(&self, folder: &Path) {
        let mut folders = self.folders();
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.into());
        }
    }

    /// Bytes in the volume, or more.
    pub(crate) fn used(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be in the volume; `u64::MAX` where nothing limits it.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that may still be written now.
    pub(crate) fn room(&self) -> u64 {
        let own = self.limit().saturating_sub(self.used());
        let above = self.above.as_ref().map_or(u64::MAX, |above| above.room());
        own.min(above).min(self.floor.room())
    }

    /// Whether somebody wanted to write more than the limit, or it holds more.
    pub(crate) fn was_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed) || self.used() > self.limit()
    }

    /// Forgets who wanted too much: the volume begins anew.
    pub(crate) fn forgive(&self) {
        self.exceeded.store(false, Ordering::Relaxed);
    }

    /// Takes room for one more file, folder or link.
    pub(super) async fn reserve_entry(self: &Arc<Self>) -> Result<Reservation, Full> {
        self.take(ENTRY_BYTES, 1).await
    }

    /// Takes room for what makes `file` reach to `end`.
    pub(super) async fn reserve_growth(
        self: &Arc<Self>,
        file: &File,
        end: u64,
    ) -> Result<Reservation, Full> {
        match growth(file, end) {
            0 => Ok(Reservation::default()),
            bytes => self.take(bytes, 0).await,
        }
    }

    /// As [`VolumeQuota::reserve_growth`], without waiting.
    pub(super) fn try_reserve_growth(
        self: &Arc<Self>,
        file: &File,
        end: u64,
    ) -> Result<Reservation, Full> {
        match growth(file, end) {
            0 => Ok(Reservation::default()),
            bytes => self.try_take(bytes, 0),
        }
    }

    /// Whether there seems to be no room for what makes `file` reach to `end`.
    pub(super) fn lacks_room(&self, file: &File, end: u64) -> bool {
        growth(file, end) > self.room()
    }

    /// Counts `file`, if it was removed, until it is closed.
    pub(super) fn opened(&self, file: &Arc<File>) {
        let mut open = self.open.lock();
        if open.len() == open.capacity() {
            open.retain(|file| file.strong_count() > 0);
        }
        open.push(Arc::downgrade(file));
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Takes room, and looks at what there really is before it gives up.
    ///
    /// # Errors
    /// There is none.
    async fn take(self: &Arc<Self>, bytes: u64, entries: u64) -> Result<Reservation, Full> {
        if let Ok(reserved) = self.try_take(bytes, entries) {
            return Ok(reserved);
        }
        self.refresh().await;
        let taken = self.try_take(bytes, entries);
        if taken.is_err() {
            self.note_exceeded(bytes);
        }
        taken
    }

    /// Measures again, not too often.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let mut measured = self.measured.lock().await;
        if let Some(last) = *measured {
            let pause = MEASURE_PAUSE_MIN.max(last.took * MEASURE_PAUSE_FACTOR);
            tokio::time::sleep_until((last.at + pause).into()).await;
        }
        let (quota, began) = (self.clone(), Instant::now());
        // What cannot be measured stays as it was counted.
        let _ = tokio::task::spawn_blocking(move || quota.measure()).await;
        *measured = Some(Measured {
            at: Instant::now(),
            took: began.elapsed(),
        });
    }

    /// Counts what there is now. Takes as long as walking through the volume:
    /// not for an asynchronous task.
    pub(crate) fn measure(&self) {
        self.measure_own();
        if let Some(above) = &self.above {
            above.measure_own();
        }
    }

    fn measure_own(&self) {
        let settled = |counter: &AtomicU64, pending: &AtomicU64| {
            let pending = pending.load(Ordering::Acquire);
            counter.load(Ordering::Relaxed).saturating_sub(pending)
        };
        let bytes = settled(&self.bytes, &self.bytes_pending);
        let entries = settled(&self.entries, &self.entries_pending);
        let folders = self.folders().clone();
        let mut usage = Usage::default();
        for folder in &folders {
            usage.add_folder(folder);
        }
        let open: Vec<_> = {
            let mut open = self.open.lock();
            open.retain(|file| file.strong_count() > 0);
            open.iter().filter_map(Weak::upgrade).collect()
        };
        for file in open {
            if let Ok(metadata) = file.metadata()
                && metadata.nlink() == 0
            {
                usage.add_content(&metadata);
            }
        }
        // What was being written when it was measured may be missing in it.
        replace(&self.bytes, bytes, usage.bytes);
        replace(&self.entries, entries, usage.entries);
    }

    fn try_take(self: &Arc<Self>, bytes: u64, entries: u64) -> Result<Reservation, Full> {
        self.count(bytes, entries)?;
        Ok(Reservation {
            quota: Some(self.clone()),
            bytes,
            entries,
        })
    }

    fn count(&self, bytes: u64, entries: u64) -> Result<(), Full> {
        self.bytes_pending.fetch_add(bytes, Ordering::Release);
        self.entries_pending.fetch_add(entries, Ordering::Release);
        let counted = self.count_within_limits(bytes, entries);
        counted.inspect_err(|_| self.settle_own(bytes, entries))
    }

    fn count_within_limits(&self, bytes: u64, entries: u64) -> Result<(), Full> {
        if self.entries() >= ENTRIES_MAX {
            // There may be more than was seen.
            return Err(Full);
        }
        add(&self.bytes, bytes, self.limit())?;
        let rest = add(&self.entries, entries, ENTRIES_MAX).and_then(|()| {
            let above = match &self.above {
                Some(above) => above.count(bytes, entries),
                None if self.floor.take(bytes) => Ok(()),
                None => Err(Full),
            };
            above.inspect_err(|_| subtract(&self.entries, entries))
        });
        rest.inspect_err(|_| subtract(&self.bytes, bytes))
    }

    /// What was taken is written, or never will be.
    fn settle(&self, bytes: u64, entries: u64) {
        self.settle_own(bytes, entries);
        if let Some(above) = &self.above {
            above.settle(bytes, entries);
        }
    }

    fn settle_own(&self, bytes: u64, entries: u64) {
        self.bytes_pending.fetch_sub(bytes, Ordering::Release);
        self.entries_pending.fetch_sub(entries, Ordering::Release);
    }

    /// Notes that somebody wanted so much more.
    pub(super) fn note_exceeded(&self, bytes: u64) {
        if self.used().saturating_add(bytes) > self.limit() {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        if let Some(above) = &self.above {
            above.note_exceeded(bytes);
        }
    }

    fn folders(&self) -> parking_lot::MutexGuard<'_, Vec<PathBuf>> {
        self.folders.lock()
    }
}

impl Default for Reservation {
    /// Of nothing.
    fn default() -> Self {
        Self {
            quota: None,
            bytes: 0,
            entries: 0,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            quota.settle(self.bytes, self.entries);
        }
    }
}

impl From<Full> for io::Error {
    fn from(_: Full) -> Self {
        rustix::io::Errno::NOSPC.into()
    }
}

/// Bytes that are new where `file` comes to reach to `end`. Holes count: they
/// can be filled later.
fn growth(file: &File, end: u64) -> u64 {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    end.saturating_sub(length)
}

fn add(counter: &AtomicU64, more: u64, limit: u64) -> Result<(), Full> {
    if more == 0 {
        return Ok(());
    }
    let sum = |now: u64| now.checked_add(more).filter(|sum| *sum <= limit);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
        .map(drop)
        .map_err(|_| Full)
}

fn subtract(counter: &AtomicU64, less: u64) {
    let rest = |now: u64| Some(now.saturating_sub(less));
    // It always gives a value.
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
}

/// Puts `measured` where `before` was, and keeps what came on top since.
fn replace(counter: &AtomicU64, before: u64, measured: u64) {
    let update = |now: u64| Some(measured.saturating_add(now.saturating_sub(before)));
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn quota(folder: &Path, limit: u64) -> Arc<VolumeQuota> {
        let floor = Arc::new(DiskFloor::of(folder));
        VolumeQuota::new(folder, limit, &floor, None)
    }

    #[test]
    fn what_is_there_counts_with_its_entries_and_its_holes() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("a")).expect("a folder");
        fs::write(folder.path().join("a/b"), [1; 10_000]).expect("a file");
        let sparse = File::create(folder.path().join("sparse")).expect("a file");
        sparse.set_len(1 << 40).expect("a hole");
        let quota = quota(folder.path(), u64::MAX);
        quota.measure();
        assert!(quota.used() >= (1 << 40) + 10_000 + 3 * ENTRY_BYTES);
        assert!(quota.used() < (1 << 40) + 20_000 + 3 * ENTRY_BYTES);
        assert_eq!(quota.entries(), 3);
    }

    #[tokio::test]
    async fn what_was_removed_is_found_when_the_room_is_used_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota(folder.path(), 100_000);
        let file = folder.path().join("file");
        for _ in 0..10 {
            let reserved = quota.take(60_000, 0).await.expect("room");
            fs::write(&file, [1; 60_000]).expect("a file");
            drop(reserved);
            assert!(quota.take(60_000, 0).await.is_err());
            fs::remove_file(&file).expect("removed");
        }
        assert!(quota.was_exceeded());
    }

    #[tokio::test]
    async fn a_volume_with_folders_too_deep_to_look_into_is_full() {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let root = tempfile::tempdir().expect("a folder");
        let quota = quota(root.path(), u64::MAX);
        assert!(quota.take(1, 0).await.is_ok());
        let name = "x".repeat(200);
        let mut folder = openat(CWD, root.path(), OFlags::RDONLY, Mode::empty()).expect("opened");
        for _ in 0..25 {
            mkdirat(&folder, &name, Mode::RWXU).expect("a folder");
            folder = openat(&folder, &name, OFlags::RDONLY, Mode::empty()).expect("opened");
        }
        quota.measure();
        assert!(quota.take(1, 0).await.is_err());
    }

    #[tokio::test]
    async fn a_removed_file_takes_its_room_until_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota(folder.path(), 100_000);
        let path = folder.path().join("file");
        fs::write(&path, [1; 60_000]).expect("a file");
        let file = Arc::new(File::open(&path).expect("opened"));
        quota.opened(&file);
        fs::remove_file(&path).expect("removed");
        quota.measure();
        assert!(quota.take(60_000, 0).await.is_err());
        drop(file);
        assert!(quota.take(60_000, 0).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_being_written_stays_in_the_account() {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota(folder.path(), 100_000);
        let reserved = quota.take(60_000, 0).await.expect("room");
        quota.measure();
        assert!(quota.take(60_000, 0).await.is_err());
        drop(reserved);
        quota.measure();
        assert_eq!(quota.used(), 0);
    }

    #[tokio::test]
    async fn volumes_of_a_pod_share_the_pods_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let floor = Arc::new(DiskFloor::of(folder.path()));
        let all = VolumeQuota::over_all(100_000, &floor);
        let volume = |name: &str| {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).expect("a folder");
            VolumeQuota::new(&folder, u64::MAX, &floor, Some(all.clone()))
        };
        let (a, b) = (volume("a"), volume("b"));
        fs::write(folder.path().join("a/file"), [1; 60_000]).expect("a file");
        a.measure();
        assert!(b.try_take(60_000, 0).is_err());
        assert_eq!(b.used(), 0, "what was refused is not counted");
        assert!(b.try_take(30_000, 0).is_ok());
        assert!(b.room() < 10_000);
    }
}
