//! The hash function of consistent hashing.
//!
//! Hosts that share a load must compute the same hash, so the function is written
//! out here: the standard library may change its own.

/// 64-bit FNV-1a with the finaliser of SplitMix64: FNV alone spreads the last bytes too
/// little for a ring.
pub(crate) fn hash_bytes<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    finish(hash)
}

fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
