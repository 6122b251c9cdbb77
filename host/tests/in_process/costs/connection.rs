//! A connection whose client allocates nothing, so that only the host's allocations are
//! counted.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Larger than any response.
const RESPONSE_MAX: usize = 8 << 10;

/// Sends the same request again and again.
pub struct Connection {
    stream: DuplexStream,
    request: String,
    response: [u8; RESPONSE_MAX],
}

impl Connection {
    pub fn new(stream: DuplexStream, path: &str) -> Self {
        Self {
            stream,
            request: format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\nuser-agent: galleria-test\r\n\r\n"
            ),
            response: [0; RESPONSE_MAX],
        }
    }

    /// Sends the request and reads the response.
    ///
    /// # Panics
    /// If the response is not 200.
    pub async fn get(&mut self) {
        let sent = self.stream.write_all(self.request.as_bytes()).await;
        sent.expect("an open connection");
        let mut length = 0;
        while !is_complete(&self.response[..length]) {
            let read = self.stream.read(&mut self.response[length..]).await;
            let read = read.expect("an open connection");
            assert_ne!(read, 0, "the response is incomplete or too long");
            length += read;
        }
        let response = &self.response[..length];
        assert!(
            response.starts_with(b"HTTP/1.1 200 "),
            "{}: {}",
            self.request,
            String::from_utf8_lossy(response)
        );
    }
}

/// Whether the body has its announced length, or has ended with the last chunk.
fn is_complete(response: &[u8]) -> bool {
    let Some((head, body)) = split(response, b"\r\n\r\n") else {
        return false;
    };
    match split(head, b"\r\ncontent-length: ") {
        Some((_, rest)) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            body.len() >= digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
        }
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// The parts before and after the first `separator`.
fn split<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text
        .windows(separator.len())
        .position(|it| it == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}
