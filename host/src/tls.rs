//! TLS of the host: everything that uses rustls to secure a connection.
//!
//! [`client`] prepares connections to other servers, [`server`] the host's own TLS
//! listener. [`files`] reads PEM files and [`reload`] follows them; [`expiry`] reports when
//! certificates end. Messages name files and never contain keys or certificates.
//!
//! This room knows no HTTP and opens no sockets.

mod client;
mod expiry;
mod files;
mod reload;
mod server;
mod verify;

pub(crate) use client::{ClientHandshake, ClientStream, ClientTlsConfig, TlsError, trust_nobody};
pub(crate) use expiry::Expiries;
pub(crate) use files::PemFile;
pub(crate) use reload::{ClientConfigs, LoadedConfig};
pub(crate) use server::{Acceptor, Alpn, SelfSignError, SelfSignedCertificate, ServerTlsError};
