//! A trace collector for OTLP over HTTP that accepts everything and stores nothing. The
//! only argument is the address to listen on.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_default().parse()?;
    let app = Router::new().fallback(take);
    axum::serve(TcpListener::bind(address).await?, app).await?;
    Ok(())
}

/// Reads the whole request: a response before its end would count as a failure. An empty
/// `ExportTraceServiceResponse` has no bytes.
async fn take(request: Request) -> impl axum::response::IntoResponse {
    let mut body = request.into_body().into_data_stream();
    while let Some(Ok(_)) = body.next().await {}
    ([(CONTENT_TYPE, "application/x-protobuf")], "")
}
