//! Returns 200 and `hello` for every request. The benchmark uses this component too, so
//! it does nothing else.

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    call.reply(200, "hello\n");
}
