//! The same response as the hello component's, with axum and without WebAssembly. The
//! only argument is the address to listen on.

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
