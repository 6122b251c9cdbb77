//! The head of a request from outside, before the mesh trusts any of it.
//!
//! The rules are those of Envoy as an edge proxy (`use_remote_address`): headers that only the
//! mesh may set are removed, the client's address and scheme are those of its connection unless
//! proxies in front of the host are trusted to know them, and a request has one authority.
//! `forwarded` is not trusted and not removed, as in Envoy.

mod client_certificate;
mod head;
mod lists;
mod proxies;

pub use client_certificate::ClientCertificate;
pub use head::{FIELDS_MAX, check_head};
pub use lists::join_cookies;

use std::net::IpAddr;

use galleria_manifest::model::ForwardClientCertDetails;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Uri, Version, request};

use crate::LocalReply;

pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Prefixes of the headers that only the mesh may set: those that control it (`x-envoy-…`),
/// and those between its hosts.
const INTERNAL: [&str; 3] = ["x-envoy-", "x-galleria-", "x-istio-"];

/// The identity in a caller's certificate. As with Istio's gateways, it describes the
/// certificate of the connection, and is removed if there is none, unless the topology of the
/// gateway says otherwise.
const CLIENT_CERTIFICATE: &str = "x-forwarded-client-cert";

/// The headers that the mesh sets at the edge.
const SET_HERE: [HeaderName; 3] = [FORWARDED_FOR, FORWARDED_PROTO, REQUEST_ID];

/// Headers for one connection (RFC 9110, 7.6.1), and headers that the host handles itself:
/// it answers `expect`, and does not support the upgrade of `http2-settings`.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// The connection that a request from outside arrives on.
#[derive(Debug, Clone, Copy)]
pub struct ClientConnection<'a> {
    pub address: IpAddr,
    /// Whether it is secured by TLS.
    pub is_secure: bool,
    /// The client's certificate, which was verified, as [`ClientCertificate::forwarded`].
    pub certificate: Option<&'a HeaderValue>,
    /// What services receive of the certificate, and of what the client sends about others.
    pub forwarding: ForwardClientCertDetails,
    /// Proxies in front of the host whose `x-forwarded-…` headers are true
    /// (`numTrustedProxies`).
    pub trusted_proxies: u32,
}

/// Who has sent a request from outside, as the trusted proxies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether its connection is secured by TLS.
    pub is_secure: bool,
}

/// Determines the target of a request. The scheme is that of the hop behind the listener,
/// whatever the client writes, and the authority of the request line replaces `Host` if there is one (RFC
/// 9112, 3.2.2; RFC 9113, 8.3.1).
///
/// # Errors
/// 400 if `Host` is absent, empty, malformed or repeated, if an authority contains a user, if
/// `Host` names another authority than `:authority` does on HTTP/2, or if the method is
/// CONNECT.
pub fn settle_target(parts: &mut request::Parts) -> Result<(), LocalReply> {
    if parts.method == Method::CONNECT {
        return Err(LocalReply::bad_request("connect_not_supported"));
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(LocalReply::bad_request("duplicate_host_header"));
    }
    let Some(authority) = parts.uri.authority() else {
        let host = host.ok_or_else(|| LocalReply::bad_request("missing_host_header"))?;
        return match is_authority(host.as_bytes()) {
            true => Ok(()),
            false => Err(LocalReply::bad_request("invalid_host_header")),
        };
    };
    let invalid = || LocalReply::bad_request("invalid_authority");
    if !is_authority(authority.as_str().as_bytes()) {
        return Err(invalid());
    }
    if let Some(host) = host
        && host.as_bytes() != authority.as_str().as_bytes()
    {
        if parts.version == Version::HTTP_2 && !is_same_authority(host, authority, &parts.uri) {
            return Err(LocalReply::bad_request("host_differs_from_authority"));
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?;
        parts.headers.insert(header::HOST, host);
    }
    if parts.uri.scheme() != Some(&Scheme::HTTP) {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        parts.uri = Uri::from_parts(uri).map_err(|_| invalid())?;
    }
    Ok(())
}

/// Whether both name the same authority. The port of the scheme can be left out.
fn is_same_authority(host: &HeaderValue, authority: &Authority, uri: &Uri) -> bool {
    let port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => ":443",
        _ => ":80",
    };
    let without = |text: &str| text.strip_suffix(port).unwrap_or(text).len();
    let (Ok(host), authority) = (host.to_str(), authority.as_str()) else {
        return false;
    };
    let (host, authority) = (&host[..without(host)], &authority[..without(authority)]);
    host.eq_ignore_ascii_case(authority)
}

/// A host with an optional port (RFC 3986, 3.2), without a user.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.iter().position(|byte| *byte == b']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.iter().position(|it| *it == b':').unwrap_or(text.len())),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => {
            let address = std::str::from_utf8(address);
            address.is_ok_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok())
        }
        name => !name.is_empty() && name.iter().copied().all(is_of_name),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let number = std::str::from_utf8(digits).map(str::parse::<u16>);
            matches!(number, Ok(Ok(_)))
        }
        _ => false,
    };
    is_host && is_port
}

/// `reg-name` of RFC 3986.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Removes the headers for one connection, and those that `connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        remove_named_by_connection(headers);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// As [`remove_hop_by_hop`] for a request. `te: trailers` says that the client can receive
/// trailers, and remains, as in Envoy: gRPC demands it.
pub fn remove_hop_by_hop_of_request(headers: &mut HeaderMap) {
    let takes_trailers = headers.contains_key(header::TE) && takes_trailers(headers);
    remove_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let name = coding.split(|byte| *byte == b';').next();
        name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// `connection: host, authorization` would hide these headers from policies. A client
/// cannot remove headers that are meant for every recipient.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    let known = [header::HOST, header::AUTHORIZATION, header::COOKIE];
    let name = name.as_str();
    known.iter().any(|it| it == name)
        || name == "forwarded"
        || name.starts_with("content-")
        || name.starts_with("x-forwarded-")
}

/// Sanitises the headers of a request from `client`: removes those that a client must not
/// set, and sets those that the mesh knows better.
pub fn sanitise(headers: &mut HeaderMap, client: ClientConnection<'_>) -> Client {
    let received = forwarded_certificates(headers, client);
    remove_internal(headers);
    let has_proxies = client.trusted_proxies > 0;
    let address = proxies::client_address(headers, client.trusted_proxies);
    let address = address.unwrap_or(client.address);
    let is_secure = Some(&*headers).filter(|_| has_proxies);
    let is_secure = is_secure.and_then(proxies::client_is_secure);
    let is_secure = is_secure.unwrap_or(client.is_secure);
    let scheme = if is_secure { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    for certificates in received {
        headers.append(HeaderName::from_static(CLIENT_CERTIFICATE), certificates);
    }
    if let Some(certificate) = client.certificate {
        match client.forwarding {
            ForwardClientCertDetails::SanitizeSet | ForwardClientCertDetails::AppendForward => {
                append_client_certificate(headers, certificate);
            }
            ForwardClientCertDetails::Sanitize
            | ForwardClientCertDetails::ForwardOnly
            | ForwardClientCertDetails::AlwaysForwardOnly => {}
        }
    }
    if !has_proxies {
        headers.remove(FORWARDED_HOST);
    }
    lists::join(headers, &header::FORWARDED, b", ");
    append_forwarded_for(headers, client.address);
    Client { address, is_secure }
}

/// What the client sends about certificates, as far as services receive it.
fn forwarded_certificates(headers: &HeaderMap, client: ClientConnection<'_>) -> Vec<HeaderValue> {
    let is_kept = match client.forwarding {
        ForwardClientCertDetails::AlwaysForwardOnly => true,
        ForwardClientCertDetails::ForwardOnly | ForwardClientCertDetails::AppendForward => {
            client.certificate.is_some()
        }
        ForwardClientCertDetails::Sanitize | ForwardClientCertDetails::SanitizeSet => false,
    };
    match is_kept {
        true => headers
            .get_all(CLIENT_CERTIFICATE)
            .iter()
            .cloned()
            .collect(),
        false => Vec::new(),
    }
}

/// Appends the certificate of a workload to those of the hops before, as Envoy's
/// `APPEND_FORWARD` does.
pub fn append_client_certificate(headers: &mut HeaderMap, certificate: &HeaderValue) {
    let name = HeaderName::from_static(CLIENT_CERTIFICATE);
    let mut chain = Vec::new();
    for before in headers.get_all(&name) {
        chain.extend_from_slice(before.as_bytes());
        chain.push(b',');
    }
    chain.extend_from_slice(certificate.as_bytes());
    let chain = HeaderValue::from_maybe_shared(bytes::Bytes::from(chain));
    headers.insert(name, chain.unwrap_or_else(|_| certificate.clone()));
}

/// Removes the trailers that a client must not set: those of the mesh, and those that
/// belong into the head (RFC 9110, 6.5.1).
pub fn sanitise_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_internal(trailers);
    for name in SET_HERE {
        trailers.remove(name);
    }
    for name in [
        header::HOST,
        header::CONTENT_LENGTH,
        header::AUTHORIZATION,
        header::COOKIE,
    ] {
        trailers.remove(name);
    }
}

/// Removes the headers with which the mesh describes a caller to the callee: no workload
/// may set them.
pub fn remove_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &str| name.starts_with("x-galleria-") || name == CLIENT_CERTIFICATE;
    remove_all(headers, is_claim);
}

/// Removes the headers that only the mesh may set, also with `_` instead of `-`: programs
/// in the tradition of CGI do not distinguish the two.
fn remove_internal(headers: &mut HeaderMap) {
    remove_all(headers, |name| match name.contains('_') {
        false => is_internal(name),
        true => {
            let name = name.replace('_', "-");
            is_internal(&name) || SET_HERE.iter().any(|it| *it == *name)
        }
    });
}

fn is_internal(name: &str) -> bool {
    name == CLIENT_CERTIFICATE || INTERNAL.iter().any(|beginning| name.starts_with(beginning))
}

fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let unwanted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Several headers of the name are one list (RFC 9110, 5.3). The client becomes the last
/// element.
fn append_forwarded_for(headers: &mut HeaderMap, client: IpAddr) {
    let mut chain = Vec::new();
    for before in headers.get_all(FORWARDED_FOR) {
        if !before.is_empty() {
            chain.extend_from_slice(before.as_bytes());
            chain.push(b',');
        }
    }
    chain.extend_from_slice(client.to_canonical().to_string().as_bytes());
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)) {
        Ok(chain) => headers.insert(FORWARDED_FOR, chain),
        Err(_) => headers.remove(FORWARDED_FOR),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn client(address: &str) -> ClientConnection<'static> {
        ClientConnection {
            address: address.parse().expect("an address"),
            is_secure: false,
            certificate: None,
            trusted_proxies: 0,
            forwarding: ForwardClientCertDetails::default(),
        }
    }

    #[test]
    fn topology_decides_which_certificates_services_receive() {
        use ForwardClientCertDetails as Mode;
        let certificate = HeaderValue::from_static("Hash=real");
        let sent = [
            ("x-forwarded-client-cert", "Hash=one"),
            ("x-forwarded-client-cert", "Hash=two"),
            ("x_forwarded_client_cert", "Hash=three"),
        ];
        for (forwarding, with_certificate, without) in [
            (Mode::Sanitize, "", ""),
            (Mode::ForwardOnly, "Hash=one|Hash=two", ""),
            (Mode::AppendForward, "Hash=one,Hash=two,Hash=real", ""),
            (Mode::SanitizeSet, "Hash=real", ""),
            (
                Mode::AlwaysForwardOnly,
                "Hash=one|Hash=two",
                "Hash=one|Hash=two",
            ),
        ] {
            for (certificate, expected) in [(Some(&certificate), with_certificate), (None, without)]
            {
                let mut headers = headers(&sent);
                let connection = ClientConnection {
                    certificate,
                    forwarding,
                    ..client("192.0.2.1")
                };
                sanitise(&mut headers, connection);
                let received = headers.get_all(CLIENT_CERTIFICATE).iter();
                let received: Vec<_> = received.map(|it| it.to_str().expect("text")).collect();
                assert_eq!(
                    received.join("|"),
                    expected,
                    "{forwarding:?} {certificate:?}"
                );
                assert!(!headers.contains_key("x_forwarded_client_cert"));
            }
        }
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The target of `GET uri` with these `Host` headers as `SCHEME AUTHORITY HOST`, or the
    /// reason why it is refused.
    fn settled(uri: &str, hosts: &[&str]) -> String {
        let request = http::Request::get(uri);
        let request = hosts
            .iter()
            .fold(request, |it, host| it.header("host", *host));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        outcome(parts)
    }

    fn outcome(mut parts: request::Parts) -> String {
        if let Err(reply) = settle_target(&mut parts) {
            assert_eq!(reply.status, 400);
            return reply.details.into_owned();
        }
        let host = parts.headers.get("host").map(|host| host.to_str());
        let host = host.map_or("-", |host| host.expect("text"));
        let scheme = parts.uri.scheme_str().unwrap_or("-");
        let authority = parts.uri.authority().map_or("-", |it| it.as_str());
        format!("{scheme} {authority} {host}")
    }

    #[test]
    fn request_has_one_authority_and_the_scheme_of_its_listener() {
        assert_eq!(settled("/a", &["shop"]), "- - shop");
        assert_eq!(settled("/a", &["[::1]:80"]), "- - [::1]:80");
        assert_eq!(settled("http://shop/a", &["shop"]), "http shop shop");
        assert_eq!(settled("https://shop/a", &["other"]), "http shop shop");
        assert_eq!(settled("https://shop:1/a", &[]), "http shop:1 -");
    }

    #[test]
    fn host_of_http2_names_the_same_authority() {
        for (uri, host, expected) in [
            ("http://shop/a", "shop", "http shop shop"),
            ("http://shop/a", "SHOP", "http shop shop"),
            ("http://shop/a", "shop:80", "http shop shop"),
            ("http://shop:80/a", "shop", "http shop:80 shop:80"),
            ("https://shop/a", "shop:443", "http shop shop"),
            ("https://shop/a", "shop:80", "host_differs_from_authority"),
            ("http://shop/a", "other", "host_differs_from_authority"),
            ("http://shop/a", "shop.", "host_differs_from_authority"),
            ("http://shop/a", "", "host_differs_from_authority"),
        ] {
            let request = http::Request::get(uri).version(Version::HTTP_2);
            let request = request.header("host", host).body(());
            let (parts, ()) = request.expect("a request").into_parts();
            assert_eq!(outcome(parts), expected, "{uri} {host}");
        }
    }

    #[test]
    fn te_keeps_only_trailers_and_only_in_requests() {
        for (values, kept) in [
            (&["trailers"][..], true),
            (&["Trailers"], true),
            (&["gzip, trailers;q=0.5"], true),
            (&["gzip", "trailers"], true),
            (&["gzip"], false),
            (&["xtrailers"], false),
            (&[], false),
        ] {
            let pairs: Vec<_> = values.iter().map(|value| ("te", *value)).collect();
            let mut all = headers(&pairs);
            all.insert(header::CONNECTION, HeaderValue::from_static("te"));
            remove_hop_by_hop_of_request(&mut all);
            let te: Vec<_> = all.get_all(header::TE).iter().collect();
            assert_eq!(
                te,
                if kept { vec!["trailers"] } else { vec![] },
                "{values:?}"
            );
            remove_hop_by_hop(&mut all);
            assert!(all.is_empty());
        }
    }

    #[test]
    fn bad_authority_is_refused() {
        assert_eq!(settled("/a", &[]), "missing_host_header");
        assert_eq!(settled("/a", &["shop", "shop"]), "duplicate_host_header");
        for host in [
            "",
            ":80",
            "me@shop",
            "a b",
            "a/b",
            "a,b@c",
            "shop:",
            "shop:99999",
            "shop:+1",
            "a:1:2",
            "[::1",
            "[x]",
            "::1",
            "[::1]x",
            "]:1",
        ] {
            assert_eq!(settled("/a", &[host]), "invalid_host_header", "{host}");
        }
        assert_eq!(settled("http://me@shop/a", &["shop"]), "invalid_authority");
    }

    #[test]
    fn headers_that_only_the_mesh_may_set_are_removed() {
        let mut headers = headers(&[
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-galleria-hops", "1"),
            ("x-istio-attributes", "1"),
            (
                "x-forwarded-client-cert",
                "URI=spiffe://cluster.local/ns/a/sa/b",
            ),
            ("x_forwarded_client_cert", "1"),
            ("x_forwarded-for", "203.0.113.9"),
            ("x_request_id", "1"),
            ("x-forwarded-host", "shop"),
            ("x-b3-traceid", "1"),
            ("my_header", "1"),
        ]);
        remove_internal(&mut headers);
        assert_eq!(
            names(&headers),
            ["my_header", "x-b3-traceid", "x-forwarded-host"]
        );
    }

    #[test]
    fn connection_removes_the_headers_it_names_but_no_end_to_end_headers() {
        let mut headers = headers(&[
            ("connection", "close, X-Mine, host"),
            ("connection", "x-forwarded-for,authorization"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("host", "shop"),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "203.0.113.9"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            names(&headers),
            ["authorization", "host", "x-forwarded-for"]
        );
    }

    #[test]
    fn forwarded_for_is_kept_and_the_client_is_appended() {
        let mut headers = headers(&[
            ("x-forwarded-for", "203.0.113.9, 203.0.113.8"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", "shop"),
            ("forwarded", "for=203.0.113.9"),
            ("forwarded", "for=203.0.113.8"),
        ]);
        sanitise(&mut headers, client("::ffff:192.0.2.7"));
        let all: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(all, ["203.0.113.9, 203.0.113.8,203.0.113.7,192.0.2.7"]);
        assert!(!headers.contains_key(FORWARDED_HOST));
        let all: Vec<_> = headers.get_all(header::FORWARDED).iter().collect();
        assert_eq!(all, ["for=203.0.113.9, for=203.0.113.8"]);
        let all: Vec<_> = headers.get_all(FORWARDED_PROTO).iter().collect();
        assert_eq!(all, ["http"]);
    }

    #[test]
    fn trusted_proxies_say_who_the_client_is() {
        // Proxies, `x-forwarded-proto`; address, whether it is secure, the scheme.
        for (trusted_proxies, proto, address, is_secure, scheme) in [
            (0, "https", "192.0.2.7", false, "http"),
            (1, "https", "203.0.113.8", true, "https"),
            (1, "HTTPS", "203.0.113.8", true, "https"),
            (1, "ftp", "203.0.113.8", false, "http"),
            (2, "http", "203.0.113.9", false, "http"),
            (3, "https", "192.0.2.7", true, "https"),
        ] {
            let mut headers = headers(&[
                ("x-forwarded-for", "203.0.113.9, 203.0.113.8"),
                ("x-forwarded-proto", proto),
                ("x-forwarded-host", "shop"),
            ]);
            let connection = ClientConnection {
                trusted_proxies,
                ..client("192.0.2.7")
            };
            let expected = Client {
                address: address.parse().expect("an address"),
                is_secure,
            };
            assert_eq!(sanitise(&mut headers, connection), expected);
            assert_eq!(headers[FORWARDED_PROTO], scheme);
            assert_eq!(headers.contains_key(FORWARDED_HOST), trusted_proxies > 0);
            let chain = "203.0.113.9, 203.0.113.8,192.0.2.7";
            assert_eq!(headers[FORWARDED_FOR], chain);
        }
    }

    #[test]
    fn secure_connection_is_told_to_the_service_with_the_certificate_of_its_client() {
        let mut headers = headers(&[
            ("x-forwarded-client-cert", "Hash=forged"),
            ("x-forwarded-proto", "http"),
        ]);
        let certificate = HeaderValue::from_static("Hash=00");
        let mut secure = ClientConnection {
            is_secure: true,
            certificate: Some(&certificate),
            ..client("192.0.2.7")
        };
        sanitise(&mut headers, secure);
        assert_eq!(headers["x-forwarded-proto"], "https");
        let all: Vec<_> = headers.get_all(CLIENT_CERTIFICATE).iter().collect();
        assert_eq!(all, ["Hash=00"]);
        secure.certificate = None;
        sanitise(&mut headers, secure);
        assert!(!headers.contains_key(CLIENT_CERTIFICATE));
    }

    #[test]
    fn trailers_lose_the_headers_of_the_mesh_and_of_a_head() {
        let mut trailers = headers(&[
            ("x-forwarded-client-cert", "1"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-envoy-attempt-count", "1"),
            ("host", "other"),
            ("grpc-status", "0"),
        ]);
        sanitise_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["grpc-status"]);
    }
}
