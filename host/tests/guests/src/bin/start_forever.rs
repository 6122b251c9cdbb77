//! Never returns from its initialization, so no request reaches it.

use galleria_test_guests::{Call, guest};

guest!(answer);

/// The component model calls a module's `_initialize` during instantiation.
#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "an export under a fixed name")]
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    let mut turns = 0_u64;
    while std::hint::black_box(turns) != u64::MAX {
        turns = turns.wrapping_add(1);
    }
}

fn answer(call: Call) {
    call.reply(200, "unreachable\n");
}
