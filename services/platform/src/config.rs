//! Configuration values, as the manifest gives them to the workload.

/// The value of `key` without surrounding white space, or nothing when it is
/// not set or blank. Values often come from files and Secrets, which end in a
/// line break more often than not.
pub fn config(key: &str) -> Option<String> {
    let value = crate::backend::config::read(key)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The value of `key`, or `default` when it is not set.
pub fn config_or(key: &str, default: &str) -> String {
    config(key).unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_set_takes_the_default() {
        assert_eq!(config("GALLERIA_NO_SUCH_KEY"), None);
        assert_eq!(config_or("GALLERIA_NO_SUCH_KEY", "fallback"), "fallback");
    }

    #[test]
    fn a_set_key_is_trimmed() {
        // PATH is set in every environment that runs tests.
        let path = config("PATH").expect("PATH is set");
        assert_eq!(path, path.trim());
    }
}
