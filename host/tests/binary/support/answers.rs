//! A response that has been read completely.

use std::collections::HashMap;

use ureq::Body;
use ureq::http::Response;

/// A response of a host.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name; the last value if a header is repeated.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub(super) fn read(mut response: Response<Body>) -> Result<Self, ureq::Error> {
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(256 << 20)
            .read_to_string()?;
        Ok(Self {
            status,
            headers,
            body,
        })
    }

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
