//! File descriptors: as many as the system allows, of which a part is for connections. The rest
//! is for files, databases and services outside.

use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Assumed if the system sets no limit.
const UNLIMITED: usize = 1 << 20;

/// The maximum number of connections, however many descriptors there are: each connection also
/// uses memory.
const CONNECTIONS_MAX: usize = 50_000;

/// The file descriptors of the process.
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

    /// The descriptors for connections: half, so that there are always some for files.
    pub(super) fn connections(self) -> usize {
        (self.descriptors / 2).min(CONNECTIONS_MAX)
    }
}

/// Whether accepting failed because the process has no descriptors or no memory left.
pub(super) fn are_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

/// A descriptor that a listener reserves to accept one more connection when the process has
/// none left, so that an operator can still inspect such a host.
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Opens the reserved descriptor again if it was released.
    pub(super) fn refill(&mut self) {
        if self.0.is_none() {
            // On failure, tried again before the next connection.
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Releases the reserved descriptor. False if there was none.
    pub(super) fn release(&mut self) -> bool {
        self.0.take().is_some()
    }
}
