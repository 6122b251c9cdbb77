//! Calls to other services over `wasi:http/outgoing-handler`: the host's mesh finds the
//! service and propagates the trace.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method as WasiMethod, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;
use wstd::prelude::*;
use wstd::runtime::AsyncPollable;

use super::outgoing::write_all;
use crate::client::{ANSWER_BYTES_MAX, Answer, CallError, OutgoingCall};

/// Bytes of a response that are read from the host at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Why an exchange failed, without its URL.
enum Break {
    Refused(&'static str),
    Host(ErrorCode),
    Stream,
    TooLarge,
}

pub(crate) async fn call(
    url: &str,
    call: OutgoingCall,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let deadline = wstd::time::Duration::from(timeout);
    let Ok(result) = exchange(call, timeout).timeout(deadline).await else {
        return Err(CallError::TimedOut {
            url: url.to_owned(),
            timeout,
        });
    };
    result.map_err(|reason| match reason {
        Break::TooLarge => CallError::AnswerTooLarge {
            url: url.to_owned(),
        },
        Break::Refused(what) => failed(url, format!("the host refused its {what}")),
        Break::Host(code) => failed(url, code.to_string()),
        Break::Stream => failed(url, "the connection broke".to_owned()),
    })
}

fn failed(url: &str, reason: String) -> CallError {
    CallError::Failed {
        url: url.to_owned(),
        reason,
    }
}

async fn exchange(call: OutgoingCall, timeout: Duration) -> Result<Answer, Break> {
    let request = request_head(&call)?;
    let outgoing = match &call.body {
        Some(_) => Some(request.body().map_err(|()| Break::Refused("body"))?),
        None => None,
    };
    let response =
        outgoing_handler::handle(request, Some(options(timeout))).map_err(Break::Host)?;
    if let (Some(outgoing), Some(body)) = (outgoing, &call.body) {
        let stream = outgoing.write().map_err(|()| Break::Refused("body"))?;
        write_all(&stream, body).await.map_err(|_| Break::Stream)?;
        drop(stream);
        OutgoingBody::finish(outgoing, None).map_err(Break::Host)?;
    }
    let response = loop {
        match response.get() {
            Some(Ok(result)) => break result.map_err(Break::Host)?,
            Some(Err(())) => return Err(Break::Stream),
            None => AsyncPollable::new(response.subscribe()).wait_for().await,
        }
    };
    let status = StatusCode::from_u16(response.status()).map_err(|_| Break::Refused("status"))?;
    Ok(Answer {
        status,
        body: read_body(&response).await?,
    })
}

fn request_head(call: &OutgoingCall) -> Result<OutgoingRequest, Break> {
    let mut headers = vec![("accept".to_owned(), b"application/json".to_vec())];
    if let Some(body) = &call.body {
        headers.push(("content-type".to_owned(), b"application/json".to_vec()));
        headers.push((
            "content-length".to_owned(),
            body.len().to_string().into_bytes(),
        ));
    }
    let headers = Fields::from_list(&headers).map_err(|_| Break::Refused("headers"))?;
    let request = OutgoingRequest::new(headers);
    // GET is the default method of a request.
    if call.method == Method::POST {
        request
            .set_method(&WasiMethod::Post)
            .map_err(|()| Break::Refused("method"))?;
    }
    request
        .set_scheme(Some(&Scheme::Http))
        .map_err(|()| Break::Refused("scheme"))?;
    request
        .set_authority(call.uri.authority().map(http::uri::Authority::as_str))
        .map_err(|()| Break::Refused("authority"))?;
    request
        .set_path_with_query(
            call.uri
                .path_and_query()
                .map(http::uri::PathAndQuery::as_str),
        )
        .map_err(|()| Break::Refused("path"))?;
    Ok(request)
}

/// Tells the host how long the caller waits, so that the mesh does not continue after
/// that. A host without support for the option continues.
fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let _ = options.set_first_byte_timeout(Some(nanoseconds));
    options
}

async fn read_body(response: &IncomingResponse) -> Result<Bytes, Break> {
    let body = response.consume().map_err(|()| Break::Stream)?;
    let stream = body.stream().map_err(|()| Break::Stream)?;
    let mut collected = BytesMut::new();
    let mut first: Option<Bytes> = None;
    loop {
        match stream.read(CHUNK_BYTES) {
            Ok(chunk) if chunk.is_empty() => {
                AsyncPollable::new(stream.subscribe()).wait_for().await;
            }
            // Most responses consist of one chunk, which is used without copying.
            Ok(chunk) if first.is_none() && collected.is_empty() => first = Some(chunk.into()),
            Ok(chunk) => {
                if let Some(first) = first.take() {
                    collected.extend_from_slice(&first);
                }
                collected.extend_from_slice(&chunk);
                if collected.len() > ANSWER_BYTES_MAX {
                    return Err(Break::TooLarge);
                }
            }
            Err(StreamError::Closed) => return Ok(first.unwrap_or_else(|| collected.freeze())),
            Err(StreamError::LastOperationFailed(_)) => return Err(Break::Stream),
        }
    }
}
