//! A port of Gateways and Ingresses: how its connections are secured, and what happens to those
//! that are not decrypted.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::rewound::Rewound;
use crate::call::{Mesh, PassedThrough};
use crate::tls::{Opaque, PortSecurity};

/// See the module's documentation.
pub(super) struct GatewayPort {
    pub(super) mesh: Arc<Mesh>,
    /// As declared.
    pub(super) port: u16,
    pub(super) security: Arc<PortSecurity>,
}

impl GatewayPort {
    /// Passes a connection on to the server that its client requests, until both have ended.
    pub(super) async fn pass_through<S>(&self, opaque: Opaque<S>, client: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Opaque {
            first,
            stream,
            server_name,
        } = opaque;
        let connection = PassedThrough {
            port: self.port,
            client,
            server_name,
        };
        let stream = Rewound::new(Bytes::from(first), stream);
        self.mesh.pass_through(connection, stream).await;
    }
}
