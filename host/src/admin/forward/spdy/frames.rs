//! The frames of SPDY/3.1 that forwarding needs
//! (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>).

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The preset dictionary for compressed headers (draft 3, section 2.6.10.1).
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");

/// The largest frame, and the largest decompressed headers, in bytes.
const FRAME_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 16 << 10;

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const FIN: u8 = 1;

/// A frame from a client.
#[derive(Debug)]
pub(super) enum Frame {
    Open {
        stream: u32,
        /// With names in lower case.
        headers: HashMap<String, String>,
    },
    Data {
        stream: u32,
        data: Bytes,
        /// Whether this is the last frame of the stream.
        last: bool,
    },
    Reset {
        stream: u32,
    },
    /// With the frame that answers it.
    Ping(Bytes),
    Other,
}

/// Why the connection of a client is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("its headers cannot be decompressed or compressed")]
    Headers,
    #[error("a frame is too large or malformed")]
    Form,
}

/// Reads and writes the frames of one connection. The compression of headers has a state.
pub(super) struct Frames {
    unpack: Decompress,
    pack: Compress,
    has_dictionary: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            unpack: Decompress::new(true),
            pack: Compress::new(Compression::default(), true),
            has_dictionary: false,
        }
    }
}

impl Frames {
    /// The next frame; `None` if the client is gone.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub(super) async fn read(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Frame>, FrameError> {
        let mut head = [0; 8];
        match reader.read_exact(&mut head).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let [a, b, c, d, flags, x, y, z] = head;
        let length = u32::from_be_bytes([0, x, y, z]) as usize;
        if length > FRAME_MAX {
            return Err(FrameError::Form);
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        let last = flags & FIN != 0;
        if a & 0x80 == 0 {
            return Ok(Some(Frame::Data {
                stream: u32::from_be_bytes([a, b, c, d]),
                data: payload.into(),
                last,
            }));
        }
        if u16::from_be_bytes([a, b]) != VERSION {
            return Err(FrameError::Form);
        }
        let stream = || {
            let (id, _) = payload.split_first_chunk().ok_or(FrameError::Form)?;
            Ok::<_, FrameError>(u32::from_be_bytes(*id) & 0x7fff_ffff)
        };
        Ok(Some(match u16::from_be_bytes([c, d]) {
            SYN_STREAM => {
                let stream = stream()?;
                // After two streams, a priority and a slot.
                let packed = payload.get(10..).ok_or(FrameError::Form)?;
                let headers = self.unpack(packed)?;
                Frame::Open { stream, headers }
            }
            RST_STREAM => Frame::Reset { stream: stream()? },
            PING => Frame::Ping(control(PING, &payload)),
            _ => Frame::Other,
        }))
    }

    /// Accepts a stream, without headers.
    ///
    /// # Errors
    /// The headers cannot be compressed.
    pub(super) fn reply(&mut self, stream: u32) -> Result<Bytes, FrameError> {
        if self.pack.total_in() == 0 {
            self.pack
                .set_dictionary(DICTIONARY)
                .map_err(|_| FrameError::Headers)?;
        }
        let mut packed = Vec::with_capacity(64);
        let none = 0_u32.to_be_bytes();
        self.pack
            .compress_vec(&none, &mut packed, FlushCompress::Sync)
            .map_err(|_| FrameError::Headers)?;
        let payload = [&stream.to_be_bytes()[..], &packed].concat();
        Ok(control(SYN_REPLY, &payload))
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<HashMap<String, String>, FrameError> {
        let mut unpacked = Vec::with_capacity(HEADERS_MAX);
        let mut rest = packed;
        while !rest.is_empty() {
            let before = self.unpack.total_in();
            let status = self
                .unpack
                .decompress_vec(rest, &mut unpacked, FlushDecompress::Sync);
            let used = usize::try_from(self.unpack.total_in() - before);
            rest = used
                .ok()
                .and_then(|used| rest.get(used..))
                .unwrap_or_default();
            match status {
                Ok(Status::Ok) if unpacked.len() < unpacked.capacity() => {}
                Err(error) if error.needs_dictionary().is_some() && !self.has_dictionary => {
                    self.has_dictionary = true;
                    self.unpack
                        .set_dictionary(DICTIONARY)
                        .map_err(|_| FrameError::Headers)?;
                }
                // Too large, ended or malformed.
                _ => return Err(FrameError::Headers),
            }
        }
        read_headers(&unpacked).ok_or(FrameError::Headers)
    }
}

fn read_headers(mut bytes: &[u8]) -> Option<HashMap<String, String>> {
    fn number(bytes: &mut &[u8]) -> Option<usize> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        usize::try_from(u32::from_be_bytes(*number)).ok()
    }
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let length = number(bytes)?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
    let count = number(&mut bytes)?;
    let mut headers = HashMap::new();
    for _ in 0..count {
        let name = text(&mut bytes)?.to_ascii_lowercase();
        headers.insert(name, text(&mut bytes)?);
    }
    Some(headers)
}

/// Data for the client. It must fit into one frame.
pub(super) fn data(stream: u32, data: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(stream);
    frame.put_u32(data.len() as u32 | u32::from(u8::from(last) * FIN) << 24);
    frame.put_slice(data);
    frame.freeze()
}

/// Rejects a stream.
pub(super) fn reset(stream: u32) -> Bytes {
    const REFUSED: u32 = 3;
    let payload = [stream.to_be_bytes(), REFUSED.to_be_bytes()].concat();
    control(RST_STREAM, &payload)
}

fn control(kind: u16, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN_STREAM as a client writes it.
    fn open(pack: &mut Compress, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = u32::try_from(headers.len())
            .expect("few")
            .to_be_bytes()
            .to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(1_024);
        pack.compress_vec(&plain, &mut packed, FlushCompress::Sync)
            .expect("packed");
        let payload = [&stream.to_be_bytes()[..], &[0; 6], &packed].concat();
        control(SYN_STREAM, &payload).to_vec()
    }

    #[tokio::test]
    async fn headers_are_decompressed_with_the_state_of_earlier_frames() {
        let mut pack = Compress::new(Compression::best(), true);
        pack.set_dictionary(DICTIONARY).expect("the dictionary");
        let mut wire = Vec::new();
        for stream in [1, 3] {
            wire.extend(open(
                &mut pack,
                stream,
                &[("Streamtype", "data"), ("port", "80")],
            ));
        }
        wire.extend(&data(3, b"GET", true)[..]);
        wire.extend(&control(PING, &7_u32.to_be_bytes())[..]);
        let mut frames = Frames::default();
        let mut reader = &wire[..];
        for wanted in [1, 3] {
            let frame = frames.read(&mut reader).await.expect("a frame");
            let Some(Frame::Open { stream, headers }) = frame else {
                panic!("{frame:?}");
            };
            assert_eq!((stream, headers["streamtype"].as_str()), (wanted, "data"));
            assert_eq!(headers["port"], "80");
        }
        let frame = frames.read(&mut reader).await.expect("a frame");
        assert!(matches!(
            frame,
            Some(Frame::Data {
                stream: 3,
                last: true,
                ..
            })
        ));
        let frame = frames.read(&mut reader).await.expect("a frame");
        assert!(
            matches!(frame, Some(Frame::Ping(answer)) if answer[..] == wire[wire.len() - 12..])
        );
        assert!(frames.read(&mut reader).await.expect("the end").is_none());
    }

    #[tokio::test]
    async fn malformed_frames_are_errors() {
        let mut pack = Compress::new(Compression::best(), true);
        pack.set_dictionary(DICTIONARY).expect("the dictionary");
        let long = "x".repeat(2 * HEADERS_MAX);
        let bomb = open(&mut pack, 1, &[("a", &long)]);
        let garbage = control(SYN_STREAM, &[0xff; 40]).to_vec();
        let large = [0, 0, 0, 1, 0, 0xff, 0xff, 0xff].to_vec();
        let short = control(SYN_STREAM, &[0; 3]).to_vec();
        for wire in [bomb, garbage, large, short] {
            let failed = Frames::default().read(&mut &wire[..]).await;
            assert!(failed.is_err(), "{failed:?}");
        }
    }
}
