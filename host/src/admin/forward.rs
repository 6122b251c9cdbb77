//! `pods/portforward`: connects a client's local ports to the guest of a pod, bypassing the
//! mesh.
//!
//! A guest has no sockets: each forwarded connection is served as HTTP/1.1, and its requests
//! are passed to the guest. There are three protocols ([`Protocol`]); kubectl tries the
//! newest first.

mod channels;
mod connection;
mod handshake;
mod spdy;
mod websocket;

use std::sync::Arc;

use axum::body::Body;
use http::Response;
use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::Api;
use super::failure::Failure;
use super::path::Resource;
use crate::workload::Pod;
use handshake::Protocol;

/// How many frames may wait for the client.
const WAITING_MAX: usize = 64;

impl Api {
    /// Switches the connection to one of the protocols.
    ///
    /// # Errors
    /// The pod does not exist or serves no requests, or the request is not a valid upgrade.
    pub(super) fn forward(
        &self,
        request: &Parts,
        resource: &Resource,
        name: &str,
    ) -> Result<Response<Body>, Failure> {
        let key = super::write::key(resource, name);
        self.stored(resource, &key)?;
        let (protocol, response) = handshake::accept(request)?;
        let upgrade = request.extensions.get::<OnUpgrade>().cloned();
        let upgrade = upgrade.ok_or_else(|| {
            Failure::BadRequest("port forwarding requires HTTP/1.1, which supports upgrades".into())
        })?;
        let pods = self.pods.all();
        let pod = pods
            .iter()
            .find(|pod| pod.name == key.name && pod.plan.identity.namespace == key.namespace);
        let pod = pod
            .cloned()
            .ok_or_else(|| Failure::BadRequest(format!("pod {name} does not serve requests")))?;
        let slot = self.watches.clone().try_acquire_owned();
        let slot = slot.map_err(|_| Failure::TooManyRequests("too many watches"))?;
        tokio::spawn(async move {
            let _slot = slot;
            match upgrade.await {
                Ok(connection) => serve(TokioIo::new(connection), protocol, pod).await,
                Err(error) => tracing::debug!(%error, "cannot upgrade a connection"),
            }
        });
        Ok(response)
    }
}

async fn serve(connection: TokioIo<Upgraded>, protocol: Protocol, pod: Arc<Pod>) {
    match protocol {
        Protocol::Spdy => {
            let (reader, writer) = tokio::io::split(connection);
            spdy::serve(reader, |frames| spdy::write(writer, frames), pod).await;
        }
        Protocol::SpdyInWebSocket => {
            let (sink, messages) = websocket::open(connection).await;
            let reader = websocket::reader(messages);
            spdy::serve(reader, |frames| websocket::write(sink, frames), pod).await;
        }
        Protocol::Channels(ports) => {
            let (sink, messages) = websocket::open(connection).await;
            channels::serve(sink, messages, &ports, &pod).await;
        }
    }
}
