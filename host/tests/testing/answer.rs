//! A response that has been read completely.

use std::collections::HashMap;

/// A response of a host.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name; the last value if a header is repeated.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.body))
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }
}

/// Headers by lower-case name.
pub fn headers(headers: &http::HeaderMap) -> HashMap<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}
