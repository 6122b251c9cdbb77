//! A command that allocates memory until an allocation fails, which traps.

use std::hint::black_box;

const MIB: usize = 1024 * 1024;

fn main() {
    let mut pieces = Vec::new();
    loop {
        // Not zero: zeroed memory need not be touched.
        pieces.push(black_box(vec![1_u8; MIB]));
    }
}
