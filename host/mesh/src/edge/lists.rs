//! Fields that may be repeated, and that many programs read only once.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Joins the parts into which HTTP/2 splits a cookie: there is one `cookie` everywhere else
/// (RFC 9113, 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    join(headers, &header::COOKIE, b"; ");
}

/// Joins several fields with the name `name` to one.
pub(super) fn join(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    let mut values = headers.get_all(name).iter();
    if let (Some(_), Some(_)) = (values.next(), values.next()) {
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let joined = values.join(separator);
        if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
            headers.insert(name, joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_cookie_become_one() {
        for (parts, cookie) in [
            (&[][..], &[][..]),
            (&["a=1"], &["a=1"]),
            (&["a=1", "b=2; c=3"], &["a=1; b=2; c=3"]),
            (&["a=1", "", "b=2"], &["a=1; ; b=2"]),
        ] {
            let mut headers = HeaderMap::new();
            for part in parts {
                headers.append(header::COOKIE, HeaderValue::from_static(part));
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(joined, cookie);
        }
    }
}
