//! An incoming request and its response.
//!
//! A guest reads only what it needs from the host, so the smallest guest also does the
//! least work.

use std::io::{self, Write};

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, InputStream, Method, OutgoingBody, OutgoingResponse,
    OutputStream, ResponseOutparam, Scheme,
};

/// The largest chunk to read from an incoming body, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;

/// A request that has not been answered yet.
#[derive(Debug)]
pub struct Call {
    request: IncomingRequest,
    response: ResponseOutparam,
}

impl Call {
    /// Wraps the arguments of `wasi:http/incoming-handler`.
    pub fn new(request: IncomingRequest, response: ResponseOutparam) -> Self {
        Self { request, response }
    }

    /// The method in upper case.
    pub fn method(&self) -> String {
        match self.request.method() {
            Method::Get => "GET".into(),
            Method::Head => "HEAD".into(),
            Method::Post => "POST".into(),
            Method::Put => "PUT".into(),
            Method::Delete => "DELETE".into(),
            Method::Connect => "CONNECT".into(),
            Method::Options => "OPTIONS".into(),
            Method::Trace => "TRACE".into(),
            Method::Patch => "PATCH".into(),
            Method::Other(name) => name,
        }
    }

    /// `http`, `https`, or another scheme that the caller used.
    pub fn scheme(&self) -> Option<String> {
        self.request.scheme().map(|scheme| match scheme {
            Scheme::Http => "http".into(),
            Scheme::Https => "https".into(),
            Scheme::Other(name) => name,
        })
    }

    /// The `Host` or `:authority` as the guest sees it.
    pub fn authority(&self) -> Option<String> {
        self.request.authority()
    }

    /// Path and query, `/` if both are missing.
    pub fn path_with_query(&self) -> String {
        self.request.path_with_query().unwrap_or_else(|| "/".into())
    }

    /// The path without its query.
    pub fn path(&self) -> String {
        let mut path = self.path_with_query();
        path.truncate(path.find('?').unwrap_or(path.len()));
        path
    }

    /// Every value of a query parameter, decoded and in order.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let target = self.path_with_query();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).into_iter().next()
    }

    /// A query parameter that is a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name)?.parse().ok()
    }

    /// The headers in order, with values as text (invalid UTF-8 is replaced).
    pub fn headers(&self) -> Vec<(String, String)> {
        let text =
            |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
        self.request
            .headers()
            .entries()
            .into_iter()
            .map(text)
            .collect()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.request.headers().get(name);
        values
            .first()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Responds with a short text.
    pub fn reply(self, status: u16, text: &str) {
        self.reply_as(status, &[("content-type", "text/plain")], text);
    }

    /// Responds with a JSON document.
    pub fn reply_json(self, status: u16, document: &serde_json::Value) {
        self.reply_as(
            status,
            &[("content-type", "application/json")],
            &format!("{document}\n"),
        );
    }

    /// Responds with these headers and this text.
    pub fn reply_as(self, status: u16, headers: &[(&str, &str)], text: &str) {
        let mut body = self.begin(status, headers);
        // The caller may have disconnected, which needs no action.
        let _ = body.write_all(text.as_bytes());
        body.finish(None);
    }

    /// Sends status and headers; the body follows.
    pub fn begin(self, status: u16, headers: &[(&str, &str)]) -> Body {
        self.begin_echo(status, headers).1
    }

    /// Sends status and headers and also returns the request's body, so that both can be
    /// streamed at once.
    pub fn begin_echo(self, status: u16, headers: &[(&str, &str)]) -> (IncomingBody, Body) {
        let fields = Fields::new();
        for (name, value) in headers {
            fields
                .append(name, value.as_bytes())
                .expect("a guest sends only legal headers");
        }
        let response = OutgoingResponse::new(fields);
        response
            .set_status_code(status)
            .expect("a guest sends only legal status codes");
        let body = response.body().expect("a new response has its body");
        let incoming = self
            .request
            .consume()
            .expect("the body was not consumed before");
        ResponseOutparam::set(self.response, Ok(response));
        (incoming, Body::new(body))
    }
}

/// An outgoing body.
#[derive(Debug)]
pub struct Body {
    // Declared before `body`: a stream must be dropped before its body.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Body {
    pub(crate) fn new(body: OutgoingBody) -> Self {
        let stream = body.write().expect("a new body has its stream");
        Self { stream, body }
    }

    /// Copies a body chunk by chunk to its end, and returns its trailers.
    pub fn copy_from(&mut self, incoming: IncomingBody) -> io::Result<Option<Fields>> {
        let stream = incoming.stream().expect("a new body has its stream");
        while let Some(piece) = next_piece(&stream)? {
            self.write_all(&piece)?;
            self.flush()?;
        }
        drop(stream);
        let trailers = IncomingBody::finish(incoming);
        trailers.subscribe().block();
        match trailers.get() {
            Some(Ok(Ok(fields))) => Ok(fields),
            Some(Ok(Err(code))) => Err(io::Error::other(format!("{code:?}"))),
            Some(Err(())) | None => Err(io::Error::other("the trailers did not arrive")),
        }
    }

    /// Finishes the body. A body that is dropped without this is aborted.
    pub fn finish(self, trailers: Option<Fields>) {
        let Self { stream, body } = self;
        drop(stream);
        // Fails if fewer bytes were written than announced, or if the caller has
        // disconnected; the host reports both.
        let _ = OutgoingBody::finish(body, trailers);
    }
}

impl Write for Body {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.stream, piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.stream)
    }
}

fn next_piece(stream: &InputStream) -> io::Result<Option<Vec<u8>>> {
    use wasip2::io::streams::StreamError;
    match stream.blocking_read(PIECE_BYTES) {
        Ok(piece) => Ok(Some(piece)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(error)) => {
            Err(io::Error::other(error.to_debug_string()))
        }
    }
}
