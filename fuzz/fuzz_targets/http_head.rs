//! Sends any HTTP/1 head to the edge: no client can set what only the mesh may set.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use galleria_mesh::edge::{
    ClientConnection, FORWARDED_FOR, FORWARDED_PROTO, remove_claims, remove_hop_by_hop, sanitise,
    sanitise_trailers, settle_target,
};
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request};
use libfuzzer_sys::fuzz_target;

/// The number of headers that the host accepts.
const HEADERS_MAX: usize = 100;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fuzz_target!(|head: &[u8]| {
    let Some(mut parts) = parsed(head) else {
        return;
    };
    let mut trailers = parts.headers.clone();
    let refused = settle_target(&mut parts).is_err();
    if !refused {
        has_one_target(&parts);
    }
    let before = parts.headers.clone();
    remove_hop_by_hop(&mut parts.headers);
    let once = parts.headers.clone();
    remove_hop_by_hop(&mut parts.headers);
    assert_eq!(parts.headers, once, "removing twice differs from once");
    assert!(!once.contains_key(CONNECTION), "{once:?}");
    assert_eq!(once.get(HOST), before.get(HOST), "the target is unchanged");

    let connection = ClientConnection {
        forwarding: Default::default(),
        address: CLIENT,
        is_secure: false,
        certificate: None,
        trusted_proxies: 0,
    };
    sanitise(&mut parts.headers, connection);
    has_no_internal_headers(&parts.headers);
    ends_with_the_client(&before, &parts.headers);

    sanitise_trailers(&mut trailers);
    has_no_internal_headers(&trailers);
    for name in [FORWARDED_FOR, FORWARDED_PROTO, HOST] {
        assert!(!trailers.contains_key(&name), "{trailers:?}");
    }
    let mut of_guest = before;
    remove_claims(&mut of_guest);
    assert!(!of_guest.contains_key("x-galleria-hops"), "{of_guest:?}");
});

/// Parses a head as hyper does.
fn parsed(head: &[u8]) -> Option<request::Parts> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?.is_complete().then_some(())?;
    let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    let mut parsed = http::Request::builder().method(method).uri(request.path?);
    for header in request.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        parsed = parsed.header(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(parsed.body(()).ok()?.into_parts().0)
}

/// Asserts that the request line and `Host` name the same single host, without a user.
fn has_one_target(parts: &request::Parts) {
    assert!(parts.headers.get_all(HOST).iter().count() <= 1);
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(|it| it.as_str().as_bytes());
    let target = authority.or(host).expect("a target");
    assert!(!target.is_empty() && !target.contains(&b'@'), "{parts:?}");
    assert!(host.is_none_or(|host| host == target), "{parts:?}");
    assert!(
        matches!(parts.uri.scheme_str(), None | Some("http")),
        "{parts:?}"
    );
}

fn has_no_internal_headers(headers: &HeaderMap) {
    for name in headers.keys() {
        let name = name.as_str().replace('_', "-");
        let is_internal = ["x-envoy-", "x-galleria-", "x-istio-"]
            .iter()
            .any(|beginning| name.starts_with(beginning));
        assert!(!is_internal, "{headers:?}");
        assert_ne!(name, "x-forwarded-client-cert", "{headers:?}");
    }
    assert!(!headers.contains_key("x_forwarded_for"), "{headers:?}");
}

/// Asserts that every line of the chain is kept in order, followed by the client's
/// address.
fn ends_with_the_client(before: &HeaderMap, after: &HeaderMap) {
    let all: Vec<_> = after.get_all(FORWARDED_FOR).iter().collect();
    let [chain] = all.as_slice() else {
        panic!("expected one line: {all:?}");
    };
    let said = before.get_all(FORWARDED_FOR).iter();
    let said = said
        .map(HeaderValue::as_bytes)
        .filter(|line| !line.is_empty());
    let client = CLIENT.to_string();
    let mut expected: Vec<&[u8]> = said.collect();
    expected.push(client.as_bytes());
    assert_eq!(chain.as_bytes(), expected.join(&b','));
    let scheme: Vec<_> = after.get_all(FORWARDED_PROTO).iter().collect();
    assert_eq!(scheme, ["http"]);
}
