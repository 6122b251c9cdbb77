//! Chooses the protocol of a client that forwards ports, and accepts its upgrade.

use axum::body::Body;
use axum::extract::Query;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::admin::failure::Failure;

const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The protocol of the streams in SPDY.
const STREAMS: &str = "portforward.k8s.io";

/// The subprotocols of WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";

/// How many ports a client can name: each has two channels, and a channel is one byte.
const PORTS_MAX: usize = 128;

/// How the connections of a client share one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// As streams of SPDY: kubectl before 1.31, and the fallback of later versions.
    Spdy,
    /// As streams of SPDY, whose bytes are the messages of a WebSocket: kubectl from 1.31.
    SpdyInWebSocket,
    /// As channels of a WebSocket, one connection for each of these ports: client libraries.
    Channels(Vec<u16>),
}

/// Returns the protocol and the response that switches to it.
///
/// # Errors
/// The request is not a valid upgrade to one of the protocols.
pub(super) fn accept(request: &Parts) -> Result<(Protocol, Response<Body>), Failure> {
    let headers = &request.headers;
    if contains(headers, &header::UPGRADE, WEBSOCKET) {
        return accept_websocket(request);
    }
    let is_spdy = request.method == Method::POST
        && contains(headers, &header::UPGRADE, SPDY)
        && contains(headers, &STREAM_PROTOCOL, STREAMS);
    if !is_spdy {
        return Err(Failure::BadRequest(format!(
            "port forwarding requires a connection upgrade to {SPDY} with {STREAMS}, or to {WEBSOCKET} with {TUNNEL} or {CHANNELS}"
        )));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(STREAMS));
    Ok((Protocol::Spdy, response))
}

fn accept_websocket(request: &Parts) -> Result<(Protocol, Response<Body>), Failure> {
    let offers = |protocol| contains(&request.headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let (protocol, name) = if offers(TUNNEL) {
        (Protocol::SpdyInWebSocket, TUNNEL)
    } else if offers(CHANNELS) {
        (Protocol::Channels(ports(request)?), CHANNELS)
    } else {
        return Err(Failure::BadRequest(format!(
            "port forwarding requires the subprotocol {TUNNEL} or {CHANNELS}"
        )));
    };
    let request = Request::from_parts(request.clone(), ());
    let mut response = create_response_with_body(&request, Body::empty)
        .map_err(|error| Failure::BadRequest(error.to_string()))?;
    let headers = response.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(name),
    );
    Ok((protocol, response))
}

/// The ports of `?ports=80,443` and `?ports=80&ports=443`.
fn ports(request: &Parts) -> Result<Vec<u16>, Failure> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&request.uri);
    let Query(query) = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
    let values = query.iter().filter(|(name, _)| name == "ports");
    let ports = values
        .flat_map(|(_, value)| value.split(','))
        .map(|port| match port.trim().parse() {
            Ok(0) | Err(_) => Err(Failure::BadRequest(format!(
                "`{port}` is not a port; write for example `?ports=8080`"
            ))),
            Ok(port) => Ok(port),
        })
        .collect::<Result<Vec<u16>, _>>()?;
    match ports.len() {
        1..=PORTS_MAX => Ok(ports),
        count => Err(Failure::BadRequest(format!(
            "the query names {count} ports; write for example `?ports=8080`, and at most {PORTS_MAX} ports"
        ))),
    }
}

fn contains(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, query: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/portforward{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn websocket(query: &str, protocols: &str) -> Parts {
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ];
        request("GET", query, &headers)
    }

    #[test]
    fn spdy_is_accepted_by_post() {
        let headers = [
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "portforward.k8s.io"),
        ];
        let (protocol, response) = accept(&request("POST", "", &headers)).expect("an upgrade");
        assert_eq!(protocol, Protocol::Spdy);
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(accept(&request("GET", "", &headers)).is_err());
        assert!(accept(&request("POST", "", &headers[..1])).is_err());
    }

    #[test]
    fn tunnel_is_preferred_to_channels() {
        let both = format!("{CHANNELS}, {TUNNEL}");
        let (protocol, response) = accept(&websocket("?ports=80", &both)).expect("an upgrade");
        assert_eq!(protocol, Protocol::SpdyInWebSocket);
        let headers = response.headers();
        assert_eq!(headers["sec-websocket-protocol"], TUNNEL);
        // RFC 6455, section 1.3.
        assert_eq!(
            headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn channels_have_the_ports_of_the_query() {
        let offered = format!("v5.channel.k8s.io, {CHANNELS}");
        let ports = |query: &str| match accept(&websocket(query, &offered)) {
            Ok((Protocol::Channels(ports), response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], CHANNELS);
                Some(ports)
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        assert_eq!(ports("?ports=80%2C443"), Some(vec![80, 443]));
        assert_eq!(ports("?x=1&ports=80&ports=443"), Some(vec![80, 443]));
        let many = vec!["80"; PORTS_MAX + 1].join(",");
        for bad in [
            "",
            "?ports=",
            "?ports=0",
            "?ports=70000",
            &format!("?ports={many}"),
        ] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn malformed_handshakes_are_rejected() {
        assert!(accept(&websocket("?ports=80", "base64.channel.k8s.io")).is_err());
        let mut keyless = websocket("?ports=80", CHANNELS);
        keyless.headers.remove("sec-websocket-key");
        assert!(accept(&keyless).is_err());
        let mut post = websocket("?ports=80", CHANNELS);
        post.method = Method::POST;
        assert!(accept(&post).is_err());
    }
}
