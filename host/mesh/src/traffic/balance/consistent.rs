//! Ring hash and Maglev: a key is always sent to the same endpoint, as long as that
//! endpoint exists.
//!
//! Both tables contain all endpoints. The search starts at the position of the key and ends
//! at the first eligible endpoint, so an endpoint that is not ready or is ejected loses
//! only its own keys, and gets the same keys back.
//!
//! On the ring, the number of positions of an endpoint is the minimum size of the ring,
//! regardless of the number of endpoints. So adding or removing an endpoint moves only the
//! keys of that endpoint.

use std::sync::{Arc, OnceLock};

use super::hash::hash_bytes;
use crate::traffic::cluster::Endpoint;

/// A prime, as Maglev requires; Envoy's default.
const MAGLEV_SIZE: usize = 65_537;
/// The maximum number of positions of one endpoint on the ring. It limits the memory to 16
/// KiB per endpoint and unit of weight.
const PLACES_MAX: u32 = 1024;
/// The maximum weight by which the positions are multiplied.
const WEIGHT_MAX: u32 = 16;

/// A table, which is created when the first key is looked up.
#[derive(Debug)]
pub(crate) enum HashTable {
    Ring {
        places: u32,
        ring: OnceLock<Vec<(u64, u32)>>,
    },
    Maglev(OnceLock<Vec<u32>>),
}

impl HashTable {
    pub(crate) fn new(maglev: bool, minimum_ring_size: u32) -> Self {
        if maglev {
            Self::Maglev(OnceLock::new())
        } else {
            Self::Ring {
                places: minimum_ring_size.clamp(1, PLACES_MAX),
                ring: OnceLock::new(),
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ring { .. } => "RING_HASH",
            Self::Maglev(_) => "MAGLEV",
        }
    }

    /// The first eligible endpoint, starting at the position of `hash`.
    pub(crate) fn choose(
        &self,
        endpoints: &[Arc<Endpoint>],
        hash: u64,
        is_eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Self::Ring { places, ring } => {
                let ring = ring.get_or_init(|| make_ring(endpoints, *places));
                let start = ring.partition_point(|(place, _)| *place < hash);
                first_eligible(ring, start, |(_, index)| *index, is_eligible)
            }
            Self::Maglev(table) => {
                let table = table.get_or_init(|| make_maglev(endpoints));
                let start = usize::try_from(hash % (table.len().max(1) as u64)).unwrap_or(0);
                first_eligible(table, start, |index| *index, is_eligible)
            }
        }
    }
}

fn first_eligible<T>(
    table: &[T],
    start: usize,
    index_of: impl Fn(&T) -> u32,
    is_eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    let (before, after) = table.split_at_checked(start).unwrap_or((table, &[]));
    let mut rejected = None;
    for index in after.iter().chain(before).map(index_of) {
        // Neighbours in the table are often the same endpoint.
        if rejected == Some(index) {
            continue;
        }
        if is_eligible(index as usize) {
            return Some(index as usize);
        }
        rejected = Some(index);
    }
    None
}

fn make_ring(endpoints: &[Arc<Endpoint>], places: u32) -> Vec<(u64, u32)> {
    let mut ring = Vec::new();
    for endpoint in endpoints {
        for place in 0..places * endpoint.weight.clamp(1, WEIGHT_MAX) {
            let hash = hash_bytes([endpoint.name.as_bytes(), b"_", &place.to_le_bytes()]);
            ring.push((hash, endpoint.id.0));
        }
    }
    ring.sort_unstable();
    ring
}

/// Each endpoint in turn takes the next free position of its own permutation; a weight is a
/// number of turns in a row.
fn make_maglev(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    if endpoints.is_empty() {
        return Vec::new();
    }
    let size = MAGLEV_SIZE as u64;
    let mut permutations: Vec<(u64, u64)> = endpoints
        .iter()
        .map(|endpoint| {
            let offset = hash_bytes([endpoint.name.as_bytes(), b"offset"]) % size;
            let skip = hash_bytes([endpoint.name.as_bytes(), b"skip"]) % (size - 1) + 1;
            (offset, skip)
        })
        .collect();
    let mut table = vec![FREE; MAGLEV_SIZE];
    let mut filled = 0;
    loop {
        for (endpoint, (next, skip)) in endpoints.iter().zip(&mut permutations) {
            for _ in 0..endpoint.weight.clamp(1, WEIGHT_MAX) {
                // A permutation visits every position, so it finds a free one.
                loop {
                    let place = usize::try_from(*next).unwrap_or(0);
                    *next = (*next + *skip) % size;
                    if let Some(slot) = table.get_mut(place)
                        && *slot == FREE
                    {
                        *slot = endpoint.id.0;
                        filled += 1;
                        break;
                    }
                }
                if filled == MAGLEV_SIZE {
                    return table;
                }
            }
        }
    }
}
