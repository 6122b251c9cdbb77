//! A single request to a running host, and its response.

use std::net::SocketAddr;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(super) type Request = http::Result<http::Request<Full<Bytes>>>;

type ExchangeResult = Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>>;

pub(super) async fn exchange<S>(stream: S, request: Request) -> ExchangeResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = request?;
    let host = http::HeaderValue::from_static("galleria");
    request.headers_mut().insert(http::header::HOST, host);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok((head.status, body.collect().await?.to_bytes()))
}

/// Requests `path` from a host's status port; returns the status code and the text.
///
/// # Errors
/// No program listens there, or it does not speak HTTP.
pub(crate) async fn ask_port(
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    let request = http::Request::get(path).body(Full::default());
    let (code, body) = exchange(stream, request)
        .await
        .map_err(|error| anyhow::anyhow!(error))?;
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}
