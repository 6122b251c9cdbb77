//! Configuration from `wasi:config/store`, with the environment as a fallback for hosts
//! without a store.

use super::bindings::wasi::config::store;

/// The raw value of `key`. If the store fails, the error is logged and the key counts as
/// missing: services have defaults for every key.
pub fn read(key: &str) -> Option<String> {
    match store::get(key) {
        Ok(Some(value)) => return Some(value),
        Ok(None) => {}
        Err(error) => crate::log(format_args!("configuration {key}: {error:?}")),
    }
    std::env::var(key).ok()
}
