//! Configuration, from the environment.

/// The raw value of `key`; one that is not UTF-8 counts as not set.
pub fn read(key: &str) -> Option<String> {
    std::env::var(key).ok()
}
