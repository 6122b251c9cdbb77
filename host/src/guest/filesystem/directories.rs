//! How many folders an instance reads at once: what it has not read yet of each
//! is kept by the host.

use std::sync::{Arc, Weak};

use super::AccessError;
use super::usage::ENTRIES_MAX;

/// Entries of all folders that an instance is reading, at most: twice the
/// largest volume, some 20 MB.
const ENTRIES_READ_MAX: u64 = 2 * ENTRIES_MAX;

/// Folders that an instance reads at once: as deep as folders lie in each other.
const STREAMS_MAX: usize = 128;

/// The folders that one instance is reading.
#[derive(Debug, Default)]
pub(super) struct DirectoryStreams {
    reading: Vec<(Weak<()>, u64)>,
    /// The tokens of resources of WASI 0.2, which do not tell when they go.
    resources: Vec<(u32, Arc<()>)>,
}

impl DirectoryStreams {
    /// Takes a place for reading a folder of a volume with so many entries; it
    /// is taken as long as the token lives.
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

    /// Keeps the token as long as the resource is there.
    pub(super) fn note(&mut self, resource: u32, token: Arc<()>) {
        self.resources.push((resource, token));
    }

    /// Lets go of the tokens of resources that are gone.
    pub(super) fn forget(&mut self, is_there: impl Fn(u32) -> bool) {
        self.resources.retain(|(resource, _)| is_there(*resource));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_folders_are_read_deep_and_large_ones_one_by_one() {
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
