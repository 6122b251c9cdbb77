//! Query parameters as Envoy reads them: split at `&` and at the first `=`, without
//! decoding. The first value of a name counts.

/// The first value of `name`; empty if the parameter has no value.
pub(crate) fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_parameter_is_used() {
        assert_eq!(value("a=1&b=2&a=3", "a"), Some("1"));
        assert_eq!(value("key", "key"), Some(""));
        assert_eq!(value("key=", "key"), Some(""));
        assert_eq!(value("keys=1", "key"), None);
        assert_eq!(value("", "key"), None);
    }
}
