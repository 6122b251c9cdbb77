//! Traps during instantiation, before it receives a request.

use galleria_test_guests::{Call, guest};

guest!(answer);

/// The component model calls a module's `_initialize` during instantiation.
#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "an export under a fixed name")]
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    core::arch::wasm32::unreachable();
}

fn answer(call: Call) {
    call.reply(200, "unreachable\n");
}
