//! The messages of a client's WebSocket, of which both subprotocols use only the binary
//! ones.

use std::io;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::StreamReader;

/// The largest message of a client. kubectl and client libraries send at most 64 KiB.
const MESSAGE_MAX: usize = 1 << 20;

/// The size of the buffers in each direction, which are allocated at once.
const BUFFER: usize = 16 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
pub(super) type Sink = SplitSink<Socket, Message>;

/// The binary messages that a client sends.
pub(super) struct Messages(SplitStream<Socket>);

/// The server's side of a connection whose handshake is done.
pub(super) async fn open(connection: TokioIo<Upgraded>) -> (Sink, Messages) {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(MESSAGE_MAX)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    (sink, Messages(stream))
}

impl Messages {
    /// The next message; `None` when the client has closed the WebSocket.
    ///
    /// # Errors
    /// The connection failed, or the client violates the protocol.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.0.next().await.transpose().map_err(io::Error::other)? {
                None => return Ok(None),
                Some(Message::Binary(message)) => return Ok(Some(message)),
                // tungstenite answers them.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
                Some(Message::Text(_) | Message::Frame(_)) => {
                    return Err(io::Error::other("a message is not binary"));
                }
            }
        }
    }
}

/// The messages as one stream of bytes.
pub(super) fn reader(messages: Messages) -> impl AsyncRead + Unpin {
    let pieces = futures::stream::try_unfold(messages, async |mut messages| {
        let message = messages.next().await?;
        io::Result::Ok(message.map(|message| (message, messages)))
    });
    StreamReader::new(Box::pin(pieces))
}

/// Sends every frame as one message, then closes the WebSocket.
pub(super) async fn write(mut sink: Sink, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if sink.send(Message::Binary(frame)).await.is_err() {
            return;
        }
    }
    // Fails if the client has closed the connection.
    let _ = sink.close().await;
}
