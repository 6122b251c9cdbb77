//! Where clients' requests become calls: headers that a client may not set are
//! taken off, identifiers are given, sizes are limited.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use wasmtime_wasi_http::Error;

use crate::call::{Call, Mesh, Rest, Source, rest_of};
use crate::context::{Carried, HOPS, REQUEST_ID, RequestContext, request_id};
use crate::{Body, Response, respond};
use galleria_mesh::{LocalReply, ResponseFlags};

/// One listener's way into the mesh.
#[derive(Clone)]
pub(crate) struct Edge {
    pub mesh: Arc<Mesh>,
    /// As declared in the Gateway, or the pods' own where it is inbound.
    pub listener_port: u16,
    /// For other hosts of the mesh: identifiers, chain and context are theirs.
    pub inbound: bool,
    /// Bytes that a request's body may have (`--max-request-body`).
    pub request_body_max: u64,
}

impl Edge {
    /// Answers one request of `client`.
    ///
    /// # Errors
    /// Another host asked for a pod that is not ready: it is told that nothing was
    /// begun, so that it may ask elsewhere whatever the request does.
    pub(crate) async fn serve(
        self,
        request: http::Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response, h2::Error> {
        if request.body().size_hint().lower() > self.request_body_max {
            return Ok(refuse(request));
        }
        let can_refuse = self.inbound && request.version() == Version::HTTP_2;
        let (mut parts, body) = request.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        let taken_over = self
            .inbound
            .then(|| RequestContext::taken_over(&mut parts.headers))
            .flatten();
        let context = taken_over.unwrap_or_else(|| enter(&mut parts.headers, client, &self.mesh));
        let call = Call {
            source: Source::Edge {
                listener_port: self.listener_port,
            },
            request: http::Request::from_parts(parts, self.limited(body)),
            context: Arc::new(context),
            client: Some(client.ip()),
            timeout: None,
        };
        let mut response = self.mesh.call(call).await;
        if can_refuse && found_nobody(&response) {
            // Read, so that nobody takes it for a client that went away.
            let _ = response.into_body().collect().await;
            return Err(Reason::REFUSED_STREAM.into());
        }
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }

    fn limited(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            return body.map_err(Error::from).boxed_unsync();
        }
        let limit = self.request_body_max;
        let max = usize::try_from(limit).unwrap_or(usize::MAX);
        let failed = move |error: Box<dyn std::error::Error + Send + Sync>| match error
            .downcast::<hyper::Error>()
        {
            Ok(error) => Error::from(*error),
            Err(_) => Error::HttpRequestBodySize(Some(limit)),
        };
        Limited::new(body, max).map_err(failed).boxed_unsync()
    }
}

/// Makes a client's request one of the mesh's.
fn enter(headers: &mut HeaderMap, client: SocketAddr, mesh: &Mesh) -> RequestContext {
    let carried = Carried::read(headers);
    mesh.metrics.trace_headers_ignored.inc_by(carried.ignored);
    let trace = carried.trace.unwrap_or_else(|| mesh.tracer.begin());
    remove_internal(headers);
    let request_id = request_id();
    headers.insert(REQUEST_ID, request_id.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    append_forwarded_for(headers, client);
    RequestContext {
        trace,
        request_id,
        baggage: carried.baggage,
        hops: 0,
        handed_over: false,
        recording: None,
    }
}

/// Of a body that is too large as much is read as of any that nobody wants, so that
/// the client sees why.
fn refuse(request: http::Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    if parts.version != Version::HTTP_2 {
        let body = body.map_err(Error::from).boxed_unsync();
        drop(rest_of(body, Rest::of_client(&parts)));
    }
    respond::local(too_large())
}

/// Whether `response` is the mesh's own: no endpoint is ready.
fn found_nobody(response: &Response) -> bool {
    let flags = response.extensions().get::<ResponseFlags>();
    flags.is_some_and(|flags| flags.contains(ResponseFlags::UH))
}

fn too_large() -> LocalReply {
    LocalReply::new(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        ResponseFlags::NONE,
        "the request's body is too large",
        "request_payload_too_large",
    )
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that speak of one connection only (RFC 9110, 7.6.1), and those that
/// `connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

/// `x-envoy-…` steers the mesh (timeouts, retries): it is not for clients outside.
fn remove_internal(headers: &mut HeaderMap) {
    headers.remove(HOPS);
    let internal: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-envoy-"))
        .cloned()
        .collect();
    for name in internal {
        headers.remove(name);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, client: SocketAddr) {
    let client = client.ip().to_string();
    let chain = match headers
        .get(&FORWARDED_FOR)
        .and_then(|value| value.to_str().ok())
    {
        Some(before) => format!("{before},{client}"),
        None => client,
    };
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_not_set_is_taken_off() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("upgrade", "websocket"),
            ("x-envoy-upstream-rq-timeout-ms", "1"),
            ("x-kept", "1"),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        remove_hop_by_hop(&mut headers);
        remove_internal(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-kept"]
        );
    }

    #[test]
    fn the_client_is_added_to_the_chain() {
        let mut headers = HeaderMap::new();
        let client: SocketAddr = "192.0.2.7:1234".parse().expect("an address");
        append_forwarded_for(&mut headers, client);
        append_forwarded_for(&mut headers, client);
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.7,192.0.2.7");
    }
}
