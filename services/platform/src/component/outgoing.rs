//! Converts axum's response to the host's.

use std::pin::pin;

use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::BodyExt;
use wasip2::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};
use wstd::runtime::AsyncPollable;

use super::incoming::RequestError;

/// Sends the response. After its head has been sent, a failure can only mean that the
/// caller has disconnected, so errors are ignored.
pub(super) async fn respond(outparam: ResponseOutparam, mut answer: Response) {
    // The response to a HEAD request has the length of a body that it does not carry; a
    // host that compares the two would treat it as broken.
    if answer.body().size_hint().exact() == Some(0) {
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    let (head, body) = answer.into_parts();
    let entries: Vec<(String, Vec<u8>)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let fields = match Fields::from_list(&entries) {
        Ok(fields) => fields,
        Err(error) => {
            let code = ErrorCode::InternalError(Some(format!("a header was refused: {error}")));
            return ResponseOutparam::set(outparam, Err(code));
        }
    };
    let response = OutgoingResponse::new(fields);
    // A response has the status 200 until another one is set.
    let status = match head.status {
        StatusCode::OK => Ok(()),
        other => response.set_status_code(other.as_u16()),
    };
    let (Ok(()), Ok(outgoing)) = (status, response.body()) else {
        let code = ErrorCode::InternalError(Some("the response was refused".to_owned()));
        return ResponseOutparam::set(outparam, Err(code));
    };
    ResponseOutparam::set(outparam, Ok(response));

    if send_body(&outgoing, body).await.is_ok() {
        let _ = OutgoingBody::finish(outgoing, None);
    }
}

/// Reports to the host that the request could not be read.
pub(super) fn refuse(outparam: ResponseOutparam, error: &RequestError) {
    crate::log(error);
    ResponseOutparam::set(outparam, Err(ErrorCode::HttpProtocolError));
}

/// The caller does not accept the rest of the body, or producing it failed.
struct BodyCut;

async fn send_body(outgoing: &OutgoingBody, body: axum::body::Body) -> Result<(), BodyCut> {
    if body.is_end_stream() {
        return Ok(());
    }
    let stream = outgoing.write().map_err(|()| BodyCut)?;
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| BodyCut)?.into_data() {
            write_all(&stream, &data).await.map_err(|_| BodyCut)?;
        }
    }
    Ok(())
}

/// Writes all of `data`, and waits when the host has no room.
pub(super) async fn write_all(stream: &OutputStream, mut data: &[u8]) -> Result<(), StreamError> {
    while !data.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if room == 0 {
            AsyncPollable::new(stream.subscribe()).wait_for().await;
            continue;
        }
        let (now, later) = data.split_at(room.min(data.len()));
        stream.write(now)?;
        data = later;
    }
    Ok(())
}
