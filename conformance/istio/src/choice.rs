//! Choices of the generators, from seeded random numbers.

use rand::Rng;
use serde_json::Value;

/// Random choices.
pub(crate) trait Choose: Rng {
    fn chance(&mut self, percent: u32) -> bool {
        self.random_ratio(percent, 100)
    }

    fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.random_range(0..pool.len())]
    }

    fn one(&mut self, pool: &[Value]) -> Value {
        pool[self.random_range(0..pool.len())].clone()
    }

    fn weighted<T: Copy>(&mut self, pool: &[(T, u32)]) -> T {
        let sum = pool.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random_range(0..sum);
        for (value, weight) in pool {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *value,
            }
        }
        pool[0].0
    }
}

impl<R: Rng> Choose for R {}
