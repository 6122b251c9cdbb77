//! The quota of a volume, which is checked before a write.
//!
//! The account of a volume increases with every planned write and never decreases: space that
//! was released is found by measuring the volume, when a write would otherwise fail. So no
//! guest can write beyond the limit between two measurements, and no order of writes,
//! truncations and removals makes the account too low.

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

/// The minimum pause between two measurements of a volume.
const MEASURE_PAUSE_MIN: Duration = Duration::from_millis(20);

/// The pause is also at least this multiple of the duration of the last measurement: a guest
/// that stays at its limit keeps the disk busy for a fifth of the time.
const MEASURE_PAUSE_FACTOR: u32 = 4;

/// The account of one volume, shared by all pods that mount it.
#[derive(Debug)]
pub(crate) struct VolumeQuota {
    /// The measured folders: the volume's own, and those that belong to it elsewhere.
    folders: Mutex<Vec<PathBuf>>,
    limit: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// The part of `bytes` and `entries` that is being written, and that a measurement may not
    /// see yet.
    bytes_pending: AtomicU64,
    entries_pending: AtomicU64,
    floor: Arc<DiskFloor>,
    /// The account of all emptyDirs of the pod.
    above: Option<Arc<VolumeQuota>>,
    /// Open files. A file that was removed uses its space until it is closed.
    open: Mutex<Vec<Weak<File>>>,
    measured: tokio::sync::Mutex<Option<Measurement>>,
    /// Whether a write was rejected because of the limit.
    exceeded: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Measurement {
    at: Instant,
    took: Duration,
}

/// Space that is reserved for a write. Keep it until the write has finished.
#[derive(Debug)]
#[must_use = "what is not written yet is kept in the account by this"]
pub(crate) struct Reservation {
    /// `None` if nothing had to be reserved.
    quota: Option<Arc<VolumeQuota>>,
    bytes: u64,
    entries: u64,
}

/// There is no space in the volume, or on its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no space left in the volume")]
pub(crate) struct Full;

impl VolumeQuota {
    /// The account of the volume in `folder`, which may contain up to `limit` bytes. It is
    /// empty until the volume is measured.
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

    /// An account for several volumes together.
    pub(crate) fn over_all(limit: u64, floor: &Arc<DiskFloor>) -> Arc<Self> {
        let quota = Self::new(Path::new(""), limit, floor, None);
        quota.folders().clear();
        quota
    }

    /// Also measures `folder`, which is outside of the volume but belongs to it, as databases
    /// do.
    pub(crate) fn also_counts(&self, folder: &Path) {
        let mut folders = self.folders();
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.into());
        }
    }

    /// An upper bound for the bytes in the volume.
    pub(crate) fn used(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many bytes may be in the volume; `u64::MAX` if there is no limit.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many bytes may still be written.
    pub(crate) fn room(&self) -> u64 {
        let own = self.limit().saturating_sub(self.used());
        let above = self.above.as_ref().map_or(u64::MAX, |above| above.room());
        own.min(above).min(self.floor.room())
    }

    /// Whether a write was rejected because of the limit, or the volume contains more than
    /// that.
    pub(crate) fn was_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed) || self.used() > self.limit()
    }

    /// Forgets rejected writes, because the volume is empty again.
    pub(crate) fn forgive(&self) {
        self.exceeded.store(false, Ordering::Relaxed);
    }

    /// Reserves space for one more file, folder or link.
    pub(super) async fn reserve_entry(self: &Arc<Self>) -> Result<Reservation, Full> {
        self.take(ENTRY_BYTES, 1).await
    }

    /// Reserves the space for extending `file` to `end`.
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

    /// Whether there is probably no space for extending `file` to `end`.
    pub(super) fn lacks_room(&self, file: &File, end: u64) -> bool {
        growth(file, end) > self.room()
    }

    /// Keeps counting `file` until it is closed, in case it is removed.
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

    /// Reserves space. Measures the volume before it fails.
    ///
    /// # Errors
    /// There is no space.
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

    /// Measures the volume again, unless that was done recently.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let mut measured = self.measured.lock().await;
        if let Some(last) = *measured {
            let pause = MEASURE_PAUSE_MIN.max(last.took * MEASURE_PAUSE_FACTOR);
            tokio::time::sleep_until((last.at + pause).into()).await;
        }
        let (quota, began) = (self.clone(), Instant::now());
        // If the measurement fails, the account stays as it is.
        let _ = tokio::task::spawn_blocking(move || quota.measure()).await;
        *measured = Some(Measurement {
            at: Instant::now(),
            took: began.elapsed(),
        });
    }

    /// Measures the volume. This walks through all of it: do not call it in an asynchronous
    /// task.
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
        // The measurement may not include the writes that were in progress.
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
            // The volume has more entries than were measured.
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

    /// The reserved space has been written, or will not be written.
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

    /// Records a rejected write of `bytes`.
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
    /// A reservation of nothing.
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

/// By how many bytes `file` grows if it is extended to `end`. Holes count, because they can be
/// filled later.
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
    // `rest` always returns a value.
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
}

/// Replaces `before` by `measured`, and keeps what was added since.
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
    fn measurement_includes_entries_and_holes() {
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
    async fn released_space_is_found_when_the_quota_is_used_up() {
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
    async fn volume_with_folders_that_are_nested_too_deeply_is_full() {
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
    async fn removed_file_uses_its_space_until_it_is_closed() {
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
    async fn writes_in_progress_stay_in_the_account() {
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
    async fn volumes_of_a_pod_share_the_quota_of_the_pod() {
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
