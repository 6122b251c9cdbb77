//! The PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): a load balancer that passes
//! connections on says first who has opened them.
//!
//! The header is read to its last byte and no further, so what follows is as the client sent it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const LINE_MAX: usize = 107;

/// Bytes of addresses and extensions in version 2; the extensions are not used.
const REST_MAX: usize = 4 << 10;

/// Reads the header. `None` if the proxy speaks for itself, or does not know its client.
///
/// # Errors
/// There is no header, or it is malformed.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    match first {
        SIGNATURE => binary(stream).await,
        _ if first.starts_with(b"PROXY ") => line(stream, &first).await,
        _ => Err(malformed()),
    }
}

async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let [version_command, family, length @ ..] = {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        head
    };
    let length = usize::from(u16::from_be_bytes(length));
    if version_command >> 4 != 2 || length > REST_MAX {
        return Err(malformed());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (version_command & 0xf, family) {
        (0, _) => Ok(None),
        // TCP over IPv4 and IPv6: both addresses, then both ports.
        (1, 0x11) => client::<4, 12>(&rest).map(Some),
        (1, 0x21) => client::<16, 36>(&rest).map(Some),
        (1, _) => Ok(None),
        _ => Err(malformed()),
    }
}

/// The source of two addresses with `BYTES` each, and their ports.
fn client<const BYTES: usize, const ALL: usize>(rest: &[u8]) -> io::Result<SocketAddr>
where
    IpAddr: From<[u8; BYTES]>,
{
    let all: &[u8; ALL] = rest.first_chunk().ok_or_else(malformed)?;
    let address: &[u8; BYTES] = all.first_chunk().ok_or_else(malformed)?;
    let ports: &[u8; 4] = all.last_chunk().ok_or_else(malformed)?;
    let [high, low, ..] = *ports;
    let port = u16::from_be_bytes([high, low]);
    Ok(SocketAddr::new(IpAddr::from(*address), port))
}

async fn line(
    stream: &mut (impl AsyncRead + Unpin),
    first: &[u8],
) -> io::Result<Option<SocketAddr>> {
    let mut line = first.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_MAX {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| malformed())?;
    let words: Vec<_> = line.trim_end_matches("\r\n").split(' ').collect();
    let client = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", "TCP4", rest @ ..] => source::<Ipv4Addr>(rest),
        ["PROXY", "TCP6", rest @ ..] => source::<Ipv6Addr>(rest),
        _ => None,
    };
    client.map(Some).ok_or_else(malformed)
}

/// The source of two addresses of one family, and their ports.
fn source<A: FromStr + Into<IpAddr>>(words: &[&str]) -> Option<SocketAddr> {
    let &[source, destination, source_port, destination_port] = words else {
        return None;
    };
    destination.parse::<A>().ok()?;
    port(destination_port)?;
    let source = source.parse::<A>().ok()?;
    Some(SocketAddr::new(source.into(), port(source_port)?))
}

/// Digits, without the sign that Rust accepts.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the connection does not begin with a header of the PROXY protocol",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `read` finds in `sent`, and the bytes that follow.
    async fn found(sent: &[u8]) -> (Result<String, io::ErrorKind>, Vec<u8>) {
        let mut stream = sent;
        let found = read(&mut stream).await;
        let text = found.map(|it| it.map_or("-".to_owned(), |it| it.to_string()));
        (text.map_err(|error| error.kind()), stream.to_vec())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        let head = [&SIGNATURE[..], &[command, family], &length].concat();
        [&head, rest].concat()
    }

    #[tokio::test]
    async fn client_is_read_and_what_follows_is_left() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 80];
        let six = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 16],
            &[0x30, 0x39, 0, 80],
        ];
        let six = six.concat();
        let with_extension = [&four[..], &[4, 0, 1, 0]].concat();
        for (header, client) in [
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80\r\n".to_vec(),
                "192.0.2.7:12345",
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 12345 80\r\n".to_vec(),
                "[2001:db8::7]:12345",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "-"),
            (b"PROXY UNKNOWN what ever 1 2\r\n".to_vec(), "-"),
            (version_2(0x21, 0x11, &four), "192.0.2.7:12345"),
            (version_2(0x21, 0x11, &with_extension), "192.0.2.7:12345"),
            (version_2(0x21, 0x21, &six), "[2001:db8::7]:12345"),
            (version_2(0x20, 0, &[]), "-"),
            (version_2(0x21, 0, &[]), "-"),
            (version_2(0x21, 0x31, &[0; 216]), "-"),
        ] {
            let sent = [&header[..], b"GET / "].concat();
            let expected = (Ok(client.to_owned()), b"GET / ".to_vec());
            assert_eq!(found(&sent).await, expected, "{header:?}");
        }
    }

    #[tokio::test]
    async fn connection_without_a_whole_header_is_refused() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
        let too_long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for sent in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80 1\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 12345 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 99999 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +12345 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 ::1 12345 80\r\n".to_vec(),
            b"PROXY  TCP4 192.0.2.7 198.51.100.1 12345 80\r\n".to_vec(),
            b"PROXY UNKNOWN2\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 198.51.100.1 12345 80\r\n".to_vec(),
            long,
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x22, 0x11, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            too_long,
        ] {
            let refused = Err(io::ErrorKind::InvalidData);
            assert_eq!(found(&sent).await.0, refused, "{sent:?}");
        }
        for sent in [&b""[..], b"PROXY TCP4 192.0", &SIGNATURE] {
            let refused = Err(io::ErrorKind::UnexpectedEof);
            assert_eq!(found(sent).await.0, refused, "{sent:?}");
        }
    }
}
