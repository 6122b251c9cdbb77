//! How many folders an instance reads at once: the host keeps the entries that the guest has
//! not read yet.

use std::sync::{Arc, Weak};

use super::AccessError;
use super::usage::ENTRIES_MAX;

/// The total number of entries in all folders that an instance is reading: twice the largest
/// volume, about 20 MB.
const ENTRIES_READ_MAX: u64 = 2 * ENTRIES_MAX;

/// How many folders an instance reads at once: as many as can be nested.
const STREAMS_MAX: usize = 128;

/// The folders that one instance is reading.
#[derive(Debug, Default)]
pub(super) struct DirectoryStreams {
    reading: Vec<(Weak<()>, u64)>,
    /// The tokens of WASI 0.2 resources, which do not notify when they are dropped.
    resources: Vec<(u32, Arc<()>)>,
}

impl DirectoryStreams {
    /// Reserves the reading of a folder in a volume with this many entries, until the token is
    /// dropped.
    pub(super) fn admit(&mut self, entries: u64) -> Result<Arc<()>, AccessError> {
        self.reading.retain(|(token, _)| token.strong_count() > 0);
        let reading: u64 = self.reading.iter().map(|(_, entries)| entries).sum();
        let too_many = reading.saturating_add(entries) > ENTRIES_READ_MAX;
        if self.reading.len() >= STREAMS_MAX || too_many && reading > 0 {
            return Err(AccessError::Descriptors);
        }
        let token = Arc::new(());
        self.reading.push((Arc::downgrade(&token), entries));
        Ok(token)
    }

    /// Keeps the token as long as the resource exists.
    pub(super) fn note(&mut self, resource: u32, token: Arc<()>) {
        self.resources.push((resource, token));
    }

    /// Drops the tokens of resources that no longer exist.
    pub(super) fn forget(&mut self, is_there: impl Fn(u32) -> bool) {
        self.resources.retain(|(resource, _)| is_there(*resource));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_folders_or_few_large_ones_are_read_at_once() {
        let mut streams = DirectoryStreams::default();
        let small: Vec<_> = (0..STREAMS_MAX).map(|_| streams.admit(10)).collect();
        assert!(small.iter().all(Result::is_ok));
        assert!(streams.admit(10).is_err());
        drop(small);
        let large = streams.admit(ENTRIES_READ_MAX).expect("alone");
        assert!(streams.admit(1).is_err());
        drop(large);
        assert!(streams.admit(1).is_ok());
    }
}
