//! Clients that send exactly the bytes that a test specifies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The connection preface of HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How long a test waits for a response or for the connection to close.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which `first` has been sent.
pub fn connected(address: &str, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(first).expect("a reader");
    stream
}

/// Waits until the host closes the connection; returns what it sent before.
#[track_caller]
pub fn closed(mut stream: &TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return said,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return said,
            Err(error) => panic!("the host did not close the connection: {error}"),
        }
    }
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `SETTINGS` with one value.
pub fn settings(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// The header fields of `GET path`, without entries in the dynamic table.
fn fields(path: &str) -> Vec<u8> {
    let literal = |index: u8, value: &str| {
        let mut field = vec![index, u8::try_from(value.len()).expect("a short value")];
        field.extend(value.as_bytes());
        field
    };
    // Indexes of the static table: GET, http, :path, :authority.
    [&[0x82, 0x86][..], &literal(4, path), &literal(1, "test")].concat()
}

/// `GET path` on a stream.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path))
}

/// The start of a request's head, without its end.
pub fn unended_head(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &fields(path))
}

/// Another part of a head without its end.
pub fn continuation(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, 0, stream, &[])
}

/// Resets a stream.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// An HTTP/1 response, as far as the tests evaluate it.
pub struct Answer {
    pub status: u16,
    /// Whether the host closes the connection after it.
    pub closes: bool,
}

/// Sends `GET path` and reads the response. `None`: the host closed the connection before
/// the first byte.
pub fn ask(stream: &mut BufReader<TcpStream>, path: &str) -> io::Result<Option<Answer>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    answer(stream)
}

/// Reads a response. `None`: the host closed the connection before the first byte.
pub fn answer(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Answer>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(line.clone()))?;
    let (mut length, mut closes) = (None, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        closes |= field == "connection: close";
        if let Some(value) = field.strip_prefix("content-length: ") {
            length = value.parse().ok();
        }
    }
    match length {
        Some(length) => {
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
        }
        None => read_chunks(stream)?,
    }
    Ok(Some(Answer { status, closes }))
}

fn read_chunks(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
    }
}
