//! Configuration, from `wasi:config/store`, with the environment behind it for
//! hosts that only have that.

use super::bindings::wasi::config::store;

/// The raw value of `key`. A store that fails is treated as one that has not
/// the key, after a line in the log: services have defaults for everything.
pub fn read(key: &str) -> Option<String> {
    match store::get(key) {
        Ok(Some(value)) => return Some(value),
        Ok(None) => {}
        Err(error) => crate::log(format_args!("configuration {key}: {error:?}")),
    }
    std::env::var(key).ok()
}
