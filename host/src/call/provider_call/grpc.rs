//! A gRPC method with one message in each direction.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use galleria_mesh as mesh;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use prost::Message;

use super::super::CallScope;
use super::{Answer, ProviderError, ask};

/// One byte says whether the message is compressed, four how long it is.
const PREFIX_LENGTH: usize = 5;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum GrpcError {
    #[error("the method has no valid URL")]
    Url(#[from] http::uri::InvalidUri),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the server replied {0}")]
    Status(StatusCode),
    #[error("the status of gRPC is {0}")]
    GrpcStatus(String),
    #[error("the answer is not one message")]
    Message(#[source] Option<prost::DecodeError>),
}

/// Calls `method`, as `package.Service/Method`, of the server at `authority` for `workload`.
pub(in super::super) async fn unary<A: Message + Default>(
    scope: &CallScope<'_>,
    workload: &Arc<mesh::Workload>,
    (authority, method): (&str, &str),
    message: &impl Message,
    patience: Duration,
) -> Result<A, GrpcError> {
    let uri: Uri = format!("http://{authority}/{method}").parse()?;
    let mut request = Request::new(framed(message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    unframed(&ask(scope, workload, request, patience).await?)
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(PREFIX_LENGTH + encoded.len());
    frame.put_u8(0);
    // Messages are much smaller: they hold one request's head and a bounded body.
    frame.put_u32(u32::try_from(encoded.len()).unwrap_or(u32::MAX));
    frame.put_slice(&encoded);
    frame.freeze()
}

fn unframed<A: Message + Default>(answer: &Answer) -> Result<A, GrpcError> {
    if answer.status != StatusCode::OK {
        return Err(GrpcError::Status(answer.status));
    }
    let status = |headers: &HeaderMap| {
        let status = headers.get("grpc-status")?.to_str().ok()?;
        Some(status.to_owned())
    };
    match status(&answer.trailers).or_else(|| status(&answer.headers)) {
        Some(status) if status == "0" => {}
        status => {
            let status = status.unwrap_or_else(|| "absent".to_owned());
            return Err(GrpcError::GrpcStatus(status));
        }
    }
    let (prefix, message) = answer
        .body
        .split_at_checked(PREFIX_LENGTH)
        .ok_or(GrpcError::Message(None))?;
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    if prefix[0] != 0 || prefix[1..] != length.to_be_bytes() {
        return Err(GrpcError::Message(None));
    }
    A::decode(message).map_err(|error| GrpcError::Message(Some(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of an answer, or why there is none.
    fn read(body: &[u8], status: u16, grpc_status: Option<&'static str>) -> String {
        let mut trailers = HeaderMap::new();
        if let Some(status) = grpc_status {
            trailers.insert("grpc-status", HeaderValue::from_static(status));
        }
        let answer = Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
            trailers,
        };
        match unframed::<String>(&answer) {
            Ok(message) => message,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn message_is_read_if_the_call_succeeded() {
        let body = framed(&"hello".to_owned());
        assert_eq!(read(&body, 200, Some("0")), "hello");
        for (body, status, grpc_status, expected) in [
            (&body[..], 200, Some("7"), "the status of gRPC is 7"),
            (&body[..], 200, None, "the status of gRPC is absent"),
            (&body[..], 503, Some("0"), "the server replied 503"),
            (&body[..4], 200, Some("0"), "the answer is not one message"),
            (&body[..7], 200, Some("0"), "the answer is not one message"),
            (
                b"\x01\0\0\0\0",
                200,
                Some("0"),
                "the answer is not one message",
            ),
            (
                b"\0\0\0\0\x02\xff\xff",
                200,
                Some("0"),
                "the answer is not one message",
            ),
        ] {
            let found = read(body, status, grpc_status);
            assert!(found.contains(expected), "{found}");
        }
    }
}
