//! How many streams of files an instance has at once: each keeps up to 64 KiB outside of the
//! guest's memory.

use std::sync::Arc;

use super::AccessError;

/// Streams in both directions; their data is at most 16 MiB.
const STREAMS_MAX: usize = 256;

/// Streams of WASI 0.2: resources, which do not notify when they are dropped.
#[derive(Debug, Default)]
pub(super) struct StreamResources(Vec<u32>);

impl StreamResources {
    /// # Errors
    /// The limit is reached.
    pub(super) fn admit(&mut self, is_there: impl Fn(u32) -> bool) -> Result<(), AccessError> {
        if self.0.len() >= STREAMS_MAX {
            self.0.retain(|resource| is_there(*resource));
        }
        let is_free = self.0.len() < STREAMS_MAX;
        is_free.then_some(()).ok_or(AccessError::Descriptors)
    }

    pub(super) fn note(&mut self, resource: u32) {
        self.0.push(resource);
    }
}

/// Streams of WASI 0.3, counted by the tokens that they hold.
#[derive(Debug, Default)]
pub(super) struct StreamTokens(Arc<()>);

impl StreamTokens {
    /// # Errors
    /// The limit is reached.
    pub(super) fn admit(&self) -> Result<Arc<()>, AccessError> {
        let is_free = Arc::strong_count(&self.0) <= STREAMS_MAX;
        is_free
            .then(|| self.0.clone())
            .ok_or(AccessError::Descriptors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_stream_makes_room_for_another() {
        let mut resources = StreamResources::default();
        for resource in 0..STREAMS_MAX as u32 {
            resources.admit(|_| true).expect("room");
            resources.note(resource);
        }
        assert_eq!(resources.admit(|_| true), Err(AccessError::Descriptors));
        assert_eq!(resources.admit(|resource| resource != 7), Ok(()));
        let tokens = StreamTokens::default();
        let mut held: Vec<_> = (0..STREAMS_MAX).map(|_| tokens.admit()).collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(tokens.admit().is_err());
        held.pop();
        assert!(tokens.admit().is_ok());
    }
}
