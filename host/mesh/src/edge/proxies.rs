//! Proxies in front of the host, whose headers say who the client is (`numTrustedProxies` of
//! Istio, `xff_num_trusted_hops` of Envoy).

use std::net::IpAddr;

use http::HeaderMap;

use super::{FORWARDED_FOR, FORWARDED_PROTO};

/// The address that the outermost of `proxies` trusted proxies has seen: each of them has appended
/// the other end of its connection to `x-forwarded-for`, and the last one is the connection's own
/// address. `None` if there are fewer addresses, or no address in this place.
pub(super) fn client_address(headers: &HeaderMap, proxies: u32) -> Option<IpAddr> {
    let place = usize::try_from(proxies.checked_sub(1)?).ok()?;
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let addresses = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    let address = addresses.map(<[u8]>::trim_ascii).nth(place)?;
    std::str::from_utf8(address).ok()?.parse().ok()
}

/// Whether the client's connection to the outermost proxy is secured by TLS; `None` if no proxy
/// says so in a form that is known.
pub(super) fn client_is_secure(headers: &HeaderMap) -> Option<bool> {
    match headers.get(FORWARDED_PROTO)?.as_bytes() {
        scheme if scheme.eq_ignore_ascii_case(b"https") => Some(true),
        scheme if scheme.eq_ignore_ascii_case(b"http") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_counted_from_the_last_address() {
        let chain = &["203.0.113.1, 203.0.113.2", "203.0.113.3"][..];
        for (lines, proxies, expected) in [
            (chain, 0, None),
            (chain, 1, Some("203.0.113.3")),
            (chain, 2, Some("203.0.113.2")),
            (chain, 3, Some("203.0.113.1")),
            (chain, 4, None),
            (&["2001:db8::1"], 1, Some("2001:db8::1")),
            (&["unknown, 203.0.113.3"], 2, None),
            (&["203.0.113.3:80"], 1, None),
            (&[""], 1, None),
            (&[], 1, None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().expect("a value"));
            }
            let expected = expected.map(|it| it.parse().expect("an address"));
            assert_eq!(
                client_address(&headers, proxies),
                expected,
                "{lines:?} {proxies}"
            );
        }
    }
}
