//! File descriptors: as many as the system allows, and what of them is for
//! connections. The rest is for files, databases and services outside.

use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Assumed where the system sets no limit.
const UNLIMITED: usize = 1 << 20;

/// Connections that the host keeps at most, however many descriptors there are: a
/// connection costs memory too.
const CONNECTIONS_MAX: usize = 50_000;

/// The process's descriptors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    descriptors: usize,
}

impl Budget {
    /// Raises `RLIMIT_NOFILE` to what the system allows.
    pub(crate) fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(error) => {
                tracing::warn!(
                    %error, limit = ?limit.current,
                    "cannot raise the limit of open files; fewer connections are kept open"
                );
                limit.current
            }
        };
        Self::of(current.map_or(UNLIMITED, |limit| {
            usize::try_from(limit).unwrap_or(UNLIMITED)
        }))
    }

    pub(super) fn of(descriptors: usize) -> Self {
        Self { descriptors }
    }

    /// What is for connections: half, so that files never lack descriptors.
    pub(super) fn connections(self) -> usize {
        (self.descriptors / 2).min(CONNECTIONS_MAX)
    }
}

/// Whether accepting failed because there are no descriptors or no memory left.
pub(super) fn are_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

/// A descriptor that a listener keeps to accept one connection more when the
/// process has none left: whoever looks into a host out of descriptors gets in.
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Opens it again where it was given away.
    pub(super) fn refill(&mut self) {
        if self.0.is_none() {
            // Tried again before the next connection.
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Gives the descriptor back to the process; false where there was none.
    pub(super) fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }
}
