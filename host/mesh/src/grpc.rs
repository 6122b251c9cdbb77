//! What the mesh reads of gRPC's requests
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Digits of a timeout.
const DIGITS_MAX: usize = 8;

/// Whether the headers belong to a gRPC message.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// How long the caller of a gRPC request waits for the whole call. As in Envoy, 0 and a malformed
/// value are no limit.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(TIMEOUT).filter(|_| is_grpc(headers))?;
    parse(value.as_bytes())
}

/// Tells the callee of a gRPC request that its caller waits only for `remaining`, if the request
/// does not already say that it waits for less.
pub fn limit_timeout(headers: &mut HeaderMap, remaining: Duration) {
    if !is_grpc(headers) || timeout(headers).is_some_and(|timeout| timeout <= remaining) {
        return;
    }
    headers.insert(TIMEOUT, format(remaining));
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    };
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

/// The most precise value that has few enough digits; 0 would be no limit.
fn format(timeout: Duration) -> HeaderValue {
    let most = 10_u128.pow(DIGITS_MAX as u32);
    let millis = timeout.as_millis();
    let (count, unit) = match millis {
        0 => (timeout.as_micros().max(1), 'u'),
        _ if millis < most => (millis, 'm'),
        _ if millis / 1_000 < most => (millis / 1_000, 'S'),
        _ => ((millis / 3_600_000).min(most - 1), 'H'),
    };
    let text = HeaderValue::try_from(format!("{count}{unit}"));
    text.unwrap_or(HeaderValue::from_static("1u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(timeout: &str) -> HeaderMap {
        let kind = HeaderValue::from_static("application/grpc");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        headers.insert(TIMEOUT, timeout.parse().expect("a value"));
        headers
    }

    #[test]
    fn timeouts_are_read() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("1n", Some(Duration::from_nanos(1))),
            ("0S", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("123456789m", None),
        ] {
            assert_eq!(timeout(&headers(text)), expected, "{text}");
        }
        let mut other = headers("1S");
        other.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(timeout(&other), None, "only gRPC has this timeout");
    }

    #[test]
    fn callee_learns_the_rest_of_the_time() {
        let remaining = Duration::from_millis;
        for (before, left, after) in [
            ("1S", remaining(400), "400m"),
            ("100m", remaining(400), "100m"),
            ("0S", remaining(400), "400m"),
            ("nonsense", remaining(400), "400m"),
            ("1S", Duration::from_micros(70), "70u"),
            ("1S", Duration::ZERO, "1u"),
            ("99999999H", Duration::from_secs(100_000), "100000S"),
            (
                "99999999H",
                Duration::from_secs(99_999_999_999),
                "27777777H",
            ),
        ] {
            let mut headers = headers(before);
            limit_timeout(&mut headers, left);
            assert_eq!(headers[TIMEOUT], after, "{before} {left:?}");
        }
        let mut plain = HeaderMap::new();
        limit_timeout(&mut plain, remaining(400));
        assert!(plain.is_empty());
    }
}
