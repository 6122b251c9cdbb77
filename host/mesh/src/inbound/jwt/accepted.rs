//! The tokens that a rule has accepted, so that a client's token is not read and verified
//! again for every request: both together cost more than the rest of its decision.
//!
//! Only accepted tokens are remembered, by the hash of their text: the token itself is a secret
//! and is not kept. What depends on the time of the request is checked for every request, and
//! a token is verified again when the issuer's keys have been replaced.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::Edit;
use super::key_set::KeySet;
use super::token::Validity;
use crate::inbound::RequestPrincipal;

/// Tokens in each of two generations: as many clients as call within minutes.
const GENERATION_MAX: usize = 4_096;

/// Bytes of the texts of a generation's tokens. What is kept of a token is a few times as
/// large as its text.
const GENERATION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The hash of a token's text. It covers the signature, and the dots that separate it from
/// what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

/// A token whose issuer, audience and signature a rule has accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The keys that verified it.
    pub(super) keys: Weak<KeySet>,
    pub(super) key_id: String,
    pub(super) validity: Validity,
    pub(super) principal: Arc<RequestPrincipal>,
    /// The headers with its payload and its claims.
    pub(super) outputs: Vec<Edit>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct AcceptedTokens {
    generations: Mutex<Generations>,
}

/// Tokens that are not used while a whole generation of others is, are forgotten.
#[derive(Debug, Default)]
struct Generations {
    recent: HashMap<TokenHash, Arc<Accepted>>,
    older: HashMap<TokenHash, Arc<Accepted>>,
    /// Of the texts of the recent tokens.
    recent_bytes: usize,
}

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

impl AcceptedTokens {
    /// `bytes` is the length of the token's text.
    pub(super) fn get(&self, token: TokenHash, bytes: usize) -> Option<Arc<Accepted>> {
        let mut generations = self.generations.lock();
        if let Some(accepted) = generations.recent.get(&token) {
            return Some(accepted.clone());
        }
        let accepted = generations.older.get(&token)?.clone();
        generations.insert(token, bytes, accepted.clone());
        Some(accepted)
    }

    pub(super) fn insert(&self, token: TokenHash, bytes: usize, accepted: Arc<Accepted>) {
        self.generations.lock().insert(token, bytes, accepted);
    }
}

impl Generations {
    fn insert(&mut self, token: TokenHash, bytes: usize, accepted: Arc<Accepted>) {
        if self.recent.len() >= GENERATION_MAX || self.recent_bytes + bytes > GENERATION_BYTES_MAX {
            self.older = std::mem::take(&mut self.recent);
            self.recent_bytes = 0;
        }
        if self.recent.insert(token, accepted).is_none() {
            self.recent_bytes += bytes;
        }
    }
}

impl Accepted {
    /// Whether `keys` are those that verified it.
    pub(super) fn is_by(&self, keys: &Arc<KeySet>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Arc::as_ptr(keys))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn accepted() -> Arc<Accepted> {
        Arc::new(Accepted {
            keys: Weak::new(),
            key_id: String::new(),
            validity: Validity::default(),
            principal: Arc::new(RequestPrincipal {
                issuer: "issuer".into(),
                subject: "subject".into(),
                audiences: Vec::new(),
                presenter: None,
                claims: Map::new(),
            }),
            outputs: Vec::new(),
        })
    }

    fn hash(number: usize) -> TokenHash {
        TokenHash::of(&number.to_string())
    }

    #[test]
    fn tokens_in_use_are_remembered_and_the_number_is_bounded() {
        let tokens = AcceptedTokens::default();
        let used = hash(0);
        assert!(tokens.get(used, 1).is_none());
        tokens.insert(used, 1, accepted());
        for number in 1..5 * GENERATION_MAX {
            tokens.insert(hash(number), 1, accepted());
            assert!(tokens.get(used, 1).is_some(), "after {number}");
        }
        assert!(tokens.get(hash(1), 1).is_none(), "not used since");
        let generations = tokens.generations.lock();
        assert!(generations.recent.len() <= GENERATION_MAX);
        assert!(generations.older.len() <= GENERATION_MAX);
    }

    #[test]
    fn bytes_of_large_tokens_are_bounded() {
        let tokens = AcceptedTokens::default();
        let bytes = GENERATION_BYTES_MAX / 8;
        for number in 0..100 {
            tokens.insert(hash(number), bytes, accepted());
            tokens.insert(hash(number), bytes, accepted());
            let generations = tokens.generations.lock();
            assert!(generations.recent.len() <= 8, "after {number}");
            assert!(generations.older.len() <= 8, "after {number}");
        }
        assert!(tokens.get(hash(99), bytes).is_some());
    }
}
