//! Calls to other services over pooled connections.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::client::{ANSWER_BYTES_MAX, Answer, CallError, OutgoingCall};

static CLIENT: LazyLock<Client<HttpConnector, Full<Bytes>>> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
});

pub(crate) async fn call(
    url: &str,
    call: OutgoingCall,
    timeout: Duration,
) -> Result<Answer, CallError> {
    match tokio::time::timeout(timeout, exchange(url, call)).await {
        Ok(result) => result,
        Err(_) => Err(CallError::TimedOut {
            url: url.to_owned(),
            timeout,
        }),
    }
}

async fn exchange(url: &str, call: OutgoingCall) -> Result<Answer, CallError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut request = Request::new(Full::new(call.body.clone().unwrap_or_default()));
    *request.method_mut() = call.method;
    *request.uri_mut() = call.uri;
    request.headers_mut().insert(header::ACCEPT, JSON);
    if call.body.is_some() {
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    let failed = |reason: String| CallError::Failed {
        url: url.to_owned(),
        reason,
    };
    let response = CLIENT
        .request(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    match body {
        Ok(body) => Ok(Answer {
            status,
            body: body.to_bytes(),
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::AnswerTooLarge {
            url: url.to_owned(),
        }),
        Err(error) => Err(failed(error.to_string())),
    }
}
