//! A client over TLS, which sends one request at a time.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, PATIENCE};

#[derive(Clone)]
pub(super) struct Client {
    pub(super) config: ClientConfig,
}

impl Client {
    pub(super) async fn connect(
        &self,
        address: &str,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        connector.connect(name, stream).await
    }

    /// A request over a connection of its own; `host` may differ from the name of the
    /// connection.
    pub(super) fn try_get(
        &self,
        address: &str,
        name: &str,
        host: &str,
        path: &str,
    ) -> io::Result<Answer> {
        wait(async {
            let mut stream = self.connect(address, name).await?;
            get(&mut stream, host, path, "connection: close\r\n").await
        })
    }

    #[track_caller]
    pub(super) fn get(&self, address: &str, name: &str, path: &str) -> Answer {
        let answer = self.try_get(address, name, name, path);
        answer.unwrap_or_else(|error| panic!("{name}{path}: {error}"))
    }

    /// The first certificate that the server presents.
    pub(super) fn presented(&self, address: &str, name: &str) -> io::Result<Vec<u8>> {
        wait(async {
            let stream = self.connect(address, name).await?;
            let chain = stream.get_ref().1.peer_certificates();
            Ok(chain.expect("a certificate")[0].to_vec())
        })
    }
}

#[track_caller]
pub(super) fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let in_time = async { tokio::time::timeout(PATIENCE, work).await };
    let done = runtime.expect("a runtime").block_on(in_time);
    done.expect("an answer in time")
}

/// One request and its response.
pub(super) async fn get(
    stream: &mut TlsStream<TcpStream>,
    host: &str,
    path: &str,
    more: &str,
) -> io::Result<Answer> {
    let forged = "x-forwarded-client-cert: Hash=forged\r\nx-forwarded-proto: http\r\n";
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{forged}{more}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = complete(&String::from_utf8_lossy(&bytes)) {
            return Ok(answer);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The response, once all of it has arrived.
fn complete(text: &str) -> Option<Answer> {
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: HashMap<_, _> = headers.collect();
    let body = match headers.get("content-length") {
        Some(length) => rest.get(..length.parse().expect("a length"))?.to_owned(),
        None => unchunked(rest)?,
    };
    Some(Answer {
        status: status.expect("a status"),
        headers,
        body,
    })
}

/// The body of a chunked message.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        if size == 0 {
            return after.contains("\r\n").then_some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}
