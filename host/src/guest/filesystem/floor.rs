//! Free space that guests must leave on the file system of the data folder, so that the host
//! can still write its own files: objects, records of Jobs, logs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The reserved part of the file system: a twentieth.
const SHARE: u64 = 20;

/// The largest reserve: it is enough for the host on any file system.
const BYTES_MAX: u64 = 1 << 30;

/// How long a reading of the free space is used. Reservations by guests since then are
/// deducted.
const FRESH: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct DiskFloor {
    folder: PathBuf,
    known: Mutex<Option<Measurement>>,
}

#[derive(Debug, Clone, Copy)]
struct Measurement {
    at: Instant,
    /// How many bytes guests may still write.
    room: u64,
}

impl DiskFloor {
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            known: Mutex::default(),
        }
    }

    /// How many bytes guests may still write.
    pub(super) fn room(&self) -> u64 {
        self.with(|room| *room)
    }

    /// Reserves `bytes`, and returns whether they were available.
    pub(super) fn take(&self, bytes: u64) -> bool {
        self.with(|room| match room.checked_sub(bytes) {
            Some(left) => {
                *room = left;
                true
            }
            None => false,
        })
    }

    fn with<R>(&self, with: impl FnOnce(&mut u64) -> R) -> R {
        let mut known = self.known.lock();
        let is_fresh = |known: &Measurement| known.at.elapsed() < FRESH;
        let fresh = match known.filter(is_fresh) {
            Some(fresh) => fresh,
            None => Measurement {
                at: Instant::now(),
                room: self.measure(),
            },
        };
        with(&mut known.insert(fresh).room)
    }

    /// If the free space is unknown, writes are not prevented; they fail with the errors of
    /// the file system.
    fn measure(&self) -> u64 {
        rustix::fs::statvfs(&self.folder).map_or(u64::MAX, |stat| {
            let all = stat.f_blocks.saturating_mul(stat.f_frsize);
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            free.saturating_sub((all / SHARE).min(BYTES_MAX))
        })
    }
}
