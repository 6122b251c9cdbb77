//! A command that takes memory until it is refused, which ends it with a trap.

use std::hint::black_box;

const MIB: usize = 1024 * 1024;

fn main() {
    let mut pieces = Vec::new();
    loop {
        // Not zero: a zeroed allocation need not be touched.
        pieces.push(black_box(vec![1_u8; MIB]));
    }
}
