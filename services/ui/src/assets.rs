//! The files that pages refer to, compiled into the program.
//!
//! Both images contain the files of both versions: while traffic is split, a page of one
//! version may request its style sheet from the other.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::Edition;

/// A compiled-in file.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
    /// Changes with the content; part of the address in pages.
    fingerprint: u32,
}

static V1_STYLE: Asset = Asset::new(
    "v1.css",
    "text/css; charset=utf-8",
    concat!(
        include_str!("../assets/base.css"),
        include_str!("../assets/v1.css")
    ),
);
static V2_STYLE: Asset = Asset::new(
    "v2.css",
    "text/css; charset=utf-8",
    concat!(
        include_str!("../assets/base.css"),
        include_str!("../assets/v2.css")
    ),
);
pub(crate) static MARK: Asset = Asset::new(
    "mark.svg",
    "image/svg+xml",
    include_str!("../assets/mark.svg"),
);

static ASSETS: [&Asset; 3] = [&V1_STYLE, &V2_STYLE, &MARK];

/// The content of an address with a fingerprint never changes.
const CACHED_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The address has no fingerprint, or that of another build: cache only for a short time.
const CACHED_SHORTLY: HeaderValue = HeaderValue::from_static("public, max-age=60");

impl Asset {
    const fn new(name: &'static str, media_type: &'static str, content: &'static str) -> Self {
        Self {
            name,
            media_type,
            content,
            fingerprint: fingerprint(content.as_bytes()),
        }
    }

    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        ASSETS.iter().copied().find(|asset| asset.name == name)
    }

    /// The address to use in pages.
    pub(crate) fn address(&self) -> String {
        format!("/ui/static/{}?{:08x}", self.name, self.fingerprint)
    }

    /// The file, which may be cached as long as the address in `query` allows.
    pub(crate) fn answer(&'static self, query: Option<&str>) -> Response {
        let is_this_build =
            query.is_some_and(|query| u32::from_str_radix(query, 16) == Ok(self.fingerprint));
        let mut response = Response::new(Body::from(self.content));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        headers.insert(
            header::CACHE_CONTROL,
            if is_this_build {
                CACHED_FOREVER
            } else {
                CACHED_SHORTLY
            },
        );
        response
    }
}

/// The style sheet of an edition's pages.
pub(crate) fn style(edition: Edition) -> &'static Asset {
    match edition {
        Edition::V1 => &V1_STYLE,
        Edition::V2 => &V2_STYLE,
    }
}

/// FNV-1a: distinguishes builds and has no security purpose.
const fn fingerprint(bytes: &[u8]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u32).wrapping_mul(0x0100_0193);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_build_are_cached_forever() {
        let address = V1_STYLE.address();
        let (_, query) = address.split_once('?').unwrap();
        let cached = |query| V1_STYLE.answer(query).headers()[header::CACHE_CONTROL].clone();
        assert_eq!(cached(Some(query)), CACHED_FOREVER);
        assert_eq!(cached(Some("00000000")), CACHED_SHORTLY);
        assert_eq!(cached(None), CACHED_SHORTLY);
    }

    #[test]
    fn editions_have_different_styles() {
        assert_ne!(
            style(Edition::V1).fingerprint,
            style(Edition::V2).fingerprint
        );
    }
}
