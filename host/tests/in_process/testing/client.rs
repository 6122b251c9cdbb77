//! One HTTP connection in memory.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;

use super::Answer;
use super::answer::headers;

/// Sends requests, one after the other. Dropping it closes the connection, or with
/// HTTP/2 once no clone is left.
pub struct Client<S = http1::SendRequest<Full<Bytes>>>(S);

impl Client {
    pub async fn http1(stream: DuplexStream) -> Self {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    /// A request without a body.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.0.ready().await.expect("an open connection");
        let mut request = request(method, path, headers);
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().entry(header::HOST).or_insert(host);
        answer(self.0.send_request(request).await, method, path).await
    }
}

impl Client<http2::SendRequest<Full<Bytes>>> {
    pub async fn http2(stream: DuplexStream) -> Self {
        let io = TokioIo::new(stream);
        let handshake = http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = handshake.expect("HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// A request that may share the connection with others.
    pub async fn get(&self, path: &str) -> Answer {
        let url = format!("http://localhost{path}");
        let sent = self.0.clone().send_request(request("GET", &url, &[])).await;
        answer(sent, "GET", path).await
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri);
    let mut request = request.body(Full::default()).expect("a request");
    for (name, value) in [("accept", "*/*"), ("user-agent", "galleria-test")]
        .iter()
        .chain(headers)
    {
        let name: HeaderName = name.parse().expect("a name");
        request
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    request
}

async fn answer(sent: hyper::Result<Response<Incoming>>, method: &str, path: &str) -> Answer {
    let read = async {
        let (head, body) = sent?.into_parts();
        Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
    };
    let (head, body) = read
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
    Answer {
        status: head.status.as_u16(),
        headers: headers(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
