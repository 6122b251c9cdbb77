//! The envelope around every response of the product service.

use serde::Serialize;

/// Field names are defined by the portal.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<'a, T> {
    pub(crate) version: &'a str,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) responsedate: i64,
    pub(crate) response: T,
}

impl<'a, T> Envelope<'a, T> {
    pub(crate) fn now(version: &'a str, response: T) -> Self {
        Self {
            version,
            responsedate: shop_platform::now_ms(),
            response,
        }
    }
}
