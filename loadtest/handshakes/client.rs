//! A load of TLS 1.3 connections, each for one request, in a closed loop: a worker opens the
//! next connection when it has the answer to the last one. The arguments are the address,
//! `full` or `resumed`, the number of workers, and the seconds. Prints one line of JSON.
//!
//! It has one thread, and verifies neither certificates nor signatures, so that it costs less
//! than any server.

#![expect(clippy::print_stdout, reason = "the result")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const NAME: &str = "bench.example";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench.example\r\nconnection: close\r\n\r\n";
/// The end of the answer.
const BODY: &[u8] = b"hello";
const CONNECTION_MAX: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, kind, workers, seconds] = arguments.as_slice() else {
        bail!("usage: handshakes ADDRESS full|resumed WORKERS SECONDS");
    };
    let address: SocketAddr = address.parse()?;
    let is_resumed = kind == "resumed";
    let length = Duration::from_secs(seconds.parse()?);
    let workers = (0..workers.parse()?).map(|_| work(address, is_resumed, length));
    let started = Instant::now();
    let results = try_join_all(workers).await?;
    let elapsed = started.elapsed();

    let failed: usize = results.iter().map(|it| it.failed).sum();
    let mut times: Vec<_> = results.into_iter().flat_map(|it| it.times).collect();
    times.sort_unstable();
    ensure!(!times.is_empty(), "no connection succeeded");
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{{\"requests\":{},\"microseconds\":{},\"failed\":{failed},\"p50\":{},\"p99\":{},\"p99_9\":{}}}",
        times.len(),
        elapsed.as_micros(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
    );
    Ok(())
}

#[derive(Default)]
struct Results {
    /// From the start of a connection to its end.
    times: Vec<Duration>,
    /// Also those whose handshake is of the other kind.
    failed: usize,
}

async fn work(address: SocketAddr, is_resumed: bool, length: Duration) -> Result<Results> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    if !is_resumed {
        config.resumption = Resumption::disabled();
    }
    let connector = TlsConnector::from(Arc::new(config));
    let expected = match is_resumed {
        // The first connection brings the tickets for the next ones.
        true => {
            connect(&connector, address).await?;
            HandshakeKind::Resumed
        }
        false => HandshakeKind::Full,
    };
    let mut results = Results::default();
    let end = Instant::now() + length;
    while Instant::now() < end {
        let start = Instant::now();
        let connected = tokio::time::timeout(CONNECTION_MAX, connect(&connector, address));
        match connected.await {
            Ok(Ok(kind)) if kind == expected => results.times.push(start.elapsed()),
            _ => results.failed += 1,
        }
    }
    Ok(results)
}

/// One connection, and the kind of its handshake.
async fn connect(connector: &TlsConnector, address: SocketAddr) -> Result<HandshakeKind> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(NAME.try_into()?, stream).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 1024];
    let mut length = 0;
    // Envoy waits for a second until it closes a connection, so that the client does.
    while !answer[..length].ends_with(BODY) {
        let read = stream.read(&mut answer[length..]).await?;
        ensure!(read > 0, "the answer ended early");
        length += read;
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "another answer");
    let (_, session) = stream.get_ref();
    session.handshake_kind().context("no handshake")
}

/// With one group for the key exchange, which is the first choice of every server.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.kx_groups = vec![ring::kx_group::X25519];
    Arc::new(provider)
}

/// Accepts every server without a look at its signature.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
