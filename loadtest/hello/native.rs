//! The same answer as the hello component's, by axum and without WebAssembly.
//! Takes the address to listen on as its only argument.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_default().parse()?;
    let app = Router::new().route("/", get(async || "hello\n"));
    axum::serve(TcpListener::bind(address).await?, app).await?;
    Ok(())
}
