//! Exemplars: for each bucket of a histogram, the last call whose trace is sampled.

use std::time::SystemTime;

use parking_lot::Mutex;

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace_id: u128,
    pub(super) value: f64,
    pub(super) at: SystemTime,
}

/// One for each bucket; the last bucket has no upper bound. Empty until the first sampled
/// call.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<Box<[Option<Exemplar>]>>);

impl Exemplars {
    /// Skips the call if another one is being recorded at the same moment.
    pub(super) fn record(&self, bounds: &[f64], trace_id: u128, value: f64) {
        let Some(mut buckets) = self.0.try_lock() else {
            return;
        };
        if buckets.is_empty() {
            *buckets = vec![None; bounds.len() + 1].into();
        }
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(exemplar) = buckets.get_mut(bucket) {
            *exemplar = Some(Exemplar {
                trace_id,
                value,
                at: SystemTime::now(),
            });
        }
    }

    /// Empty if there are none.
    pub(super) fn snapshot(&self) -> Box<[Option<Exemplar>]> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_keeps_its_last_call() {
        let exemplars = Exemplars::default();
        assert!(exemplars.snapshot().is_empty());
        for (trace, value) in [(1, 0.5), (2, 1.0), (3, 0.1), (4, 7.0)] {
            exemplars.record(&[1.0, 5.0], trace, value);
        }
        let snapshot = exemplars.snapshot();
        let ids: Vec<_> = snapshot.iter().map(|it| it.map(|it| it.trace_id)).collect();
        assert_eq!(ids, [Some(3), None, Some(4)]);
    }
}
