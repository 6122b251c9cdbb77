//! TLS of the host: everything that uses rustls to secure a connection.
//!
//! [`client`] prepares connections to other servers, [`server`] the host's own TLS
//! listener, and [`gateway`] the ports of Gateways and Ingresses. [`files`] reads PEM files
//! and [`reload`] follows them; [`workload`] is mutual TLS between the hosts of a mesh;
//! [`expiry`] reports when certificates end. Messages name files
//! and Secrets, and never contain keys or certificates.
//!
//! This room opens no sockets. Of HTTP it knows the names of its versions, and the header
//! that describes a client's certificate.

mod client;
mod expiry;
mod files;
mod gateway;
mod pem;
mod reload;
mod server;
mod verify;
mod workload;

pub(crate) use client::{ClientHandshake, ClientStream, ClientTlsConfig, TlsError, trust_nobody};
pub(crate) use expiry::Expiries;
pub(crate) use files::{PemFile, certificates, private_key};
pub(crate) use gateway::{
    Accepted, Belongs, Expiring, Fault, GatewayFiles, GatewayTls, MeshCertificates, MeshIdentity,
    Opaque, PortSecurity, Security, Session,
};
pub(crate) use pem::certificate_pem;
pub(crate) use reload::folders::Folders;
pub(crate) use reload::{ClientConfigs, LoadedConfig, wait_for_change};
pub(crate) use server::{Acceptor, Alpn, SelfSignError, SelfSignedCertificate, ServerTlsError};
pub(crate) use workload::{PeerSession, TlsRefusal, WorkloadServer, workload_client};
