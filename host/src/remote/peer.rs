//! How connections to other hosts of the mesh are secured.

use galleria_manifest::model::ClientTls;
use galleria_mesh::inbound::SpiffeId;

/// The transport of one call.
#[derive(Debug, Clone)]
pub(crate) enum PeerTransport<'a> {
    PlainText,
    /// With the files of a DestinationRule (SIMPLE, MUTUAL).
    Originated(&'a ClientTls),
    Mutual(MutualTls),
}

/// The two ends of mutual TLS with certificates of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MutualTls {
    /// The workload that calls.
    pub caller: SpiffeId,
    /// The server must be one of these.
    pub server_names: Vec<String>,
    /// The name in the handshake (SNI): the service.
    pub server: String,
}
