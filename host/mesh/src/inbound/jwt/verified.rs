//! The tokens whose signature a key set has verified, so that it is not verified again for
//! every request of a client: verifying one costs more than the rest of its request.
//!
//! Only valid signatures are remembered, and only by the key set that verified them: with a
//! new set of the issuer they are forgotten. Everything else of a token, such as its expiry,
//! is checked for every request.

use std::collections::HashSet;

use parking_lot::Mutex;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// Tokens in each of two generations: as many clients as call within minutes, at 32 bytes
/// each.
const GENERATION_MAX: usize = 4_096;

/// The hash of a token's text. The token itself is a secret and is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct VerifiedTokens {
    generations: Mutex<Generations>,
}

/// Tokens that are not used while a whole generation of others is, are forgotten.
#[derive(Debug, Default)]
struct Generations {
    recent: HashSet<TokenHash>,
    older: HashSet<TokenHash>,
}

impl TokenHash {
    /// The hash covers the signature, and the dots that separate it from what it signs.
    pub(super) fn of(token: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

impl VerifiedTokens {
    pub(super) fn contains(&self, token: TokenHash) -> bool {
        let mut generations = self.generations.lock();
        if generations.recent.contains(&token) {
            return true;
        }
        let is_known = generations.older.contains(&token);
        if is_known {
            generations.insert(token);
        }
        is_known
    }

    pub(super) fn insert(&self, token: TokenHash) {
        self.generations.lock().insert(token);
    }
}

impl Generations {
    fn insert(&mut self, token: TokenHash) {
        if self.recent.len() >= GENERATION_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_use_are_remembered_and_the_number_is_bounded() {
        let tokens = VerifiedTokens::default();
        let hash = |number: usize| TokenHash::of(&number.to_string());
        let used = hash(0);
        assert!(!tokens.contains(used));
        tokens.insert(used);
        for number in 1..5 * GENERATION_MAX {
            tokens.insert(hash(number));
            assert!(tokens.contains(used), "after {number}");
        }
        assert!(!tokens.contains(hash(1)), "not used since");
        let generations = tokens.generations.lock();
        assert!(generations.recent.len() <= GENERATION_MAX);
        assert!(generations.older.len() <= GENERATION_MAX);
    }
}
