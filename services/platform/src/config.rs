//! Configuration values that the manifest sets for the workload.

/// The value of `key` without surrounding white space, or `None` if it is missing or
/// blank. Values often come from files and Secrets that end with a line feed.
pub fn config(key: &str) -> Option<String> {
    let value = crate::backend::config::read(key)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The value of `key`, or `default` if it is missing.
pub fn config_or(key: &str, default: &str) -> String {
    config(key).unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_key_has_the_default() {
        assert_eq!(config("GALLERIA_NO_SUCH_KEY"), None);
        assert_eq!(config_or("GALLERIA_NO_SUCH_KEY", "fallback"), "fallback");
    }

    #[test]
    fn value_is_trimmed() {
        // PATH is set in every environment that runs tests.
        let path = config("PATH").expect("PATH is set");
        assert_eq!(path, path.trim());
    }
}
