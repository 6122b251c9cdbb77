//! What a request's head may be, before anything else is read from it.

use http::{HeaderMap, Version, header, request};

use crate::LocalReply;

/// The fields of a head, at most, as in Envoy (`max_headers_count`).
pub const FIELDS_MAX: usize = 100;

/// What HTTP/2 counts for a field besides its name and its value (RFC 9113, 6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Checks a head whose fields may have `bytes_max` bytes, at most `fields_max` of them. The
/// parser of HTTP/1 has already limited both.
///
/// # Errors
/// 431 if there are more fields or more bytes; 400 or 501 if the body has a transfer coding
/// besides `chunked` (RFC 9112, 6.1 and 6.3).
pub fn check_head(
    parts: &request::Parts,
    bytes_max: usize,
    fields_max: usize,
) -> Result<(), LocalReply> {
    match parts.version {
        Version::HTTP_2 => {
            // Parts of one cookie are separate fields (RFC 9113, 8.2.3).
            let cookies = parts.headers.get_all(header::COOKIE).iter().count();
            let fields = parts.headers.len() - cookies.saturating_sub(1);
            match fields > fields_max || size(parts) > bytes_max {
                true => Err(LocalReply::header_fields_too_large()),
                false => Ok(()),
            }
        }
        _ => check_transfer_codings(&parts.headers),
    }
}

/// Bytes of a head as HTTP/2 counts them.
fn size(parts: &request::Parts) -> usize {
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
    let path = parts.uri.path_and_query().map_or(0, |it| it.as_str().len());
    fields.sum::<usize>() + path
}

/// The parser only demands that `chunked` comes last.
fn check_transfer_codings(headers: &HeaderMap) -> Result<(), LocalReply> {
    let mut chunked = 0;
    let values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for coding in codings {
        match coding.trim_ascii() {
            b"" => {}
            coding if coding.eq_ignore_ascii_case(b"chunked") => chunked += 1,
            _ => return Err(LocalReply::unknown_transfer_coding()),
        }
    }
    match chunked {
        0 | 1 => Ok(()),
        _ => Err(LocalReply::bad_request("http1.invalid_transfer_encoding")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of the reply to a request with these fields; 200 if it is accepted.
    fn checked(version: Version, uri: &str, fields: &[(&str, &str)]) -> u16 {
        let request = http::Request::get(uri).version(version);
        let request = fields
            .iter()
            .fold(request, |it, (name, value)| it.header(*name, *value));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        match check_head(&parts, 1_000, 5) {
            Ok(()) => 200,
            Err(reply) => reply.status.as_u16(),
        }
    }

    #[test]
    fn body_is_chunked_or_has_no_transfer_coding() {
        const NAME: &str = "transfer-encoding";
        for (codings, status) in [
            (&["chunked"][..], 200),
            (&["Chunked"], 200),
            (&[" chunked ,"], 200),
            (&["gzip, chunked"], 501),
            (&["gzip", "chunked"], 501),
            (&["identity, chunked"], 501),
            (&["x-chunked, chunked"], 501),
            (&["chunked, chunked"], 400),
            (&["chunked", "chunked"], 400),
        ] {
            let fields: Vec<_> = codings.iter().map(|it| (NAME, *it)).collect();
            assert_eq!(
                checked(Version::HTTP_11, "/", &fields),
                status,
                "{codings:?}"
            );
        }
    }

    #[test]
    fn fields_of_http2_are_limited_as_those_of_http1() {
        let long = "v".repeat(1_000);
        let uri = format!("/{long}");
        let many = [("a", "1"); 6];
        let cookies = [("cookie", "a=1"); 12];
        for (uri, fields, status) in [
            ("/", &[("a", "1")][..], 200),
            ("/", &[("a", &long[..966])], 200),
            ("/", &[("a", &long[..967])], 431),
            (&uri, &[], 431),
            ("/", &many[..5], 200),
            ("/", &many, 431),
            ("/", &cookies, 200),
        ] {
            assert_eq!(checked(Version::HTTP_2, uri, fields), status, "{fields:?}");
        }
    }
}
