//! Forwarding over SPDY/3.1, directly or inside a WebSocket.
//!
//! Each connection is a pair of streams with the same `requestid`: first one for its error,
//! then one for its data.

mod frames;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{WAITING_MAX, connection};
use crate::workload::Pod;
use frames::{Frame, FrameError, Frames};

/// How many streams a client may have at once: two for each of its connections.
const STREAMS_MAX: usize = 512;

/// Serves a client until its connection ends. `write` sends the frames to it.
pub(super) async fn serve<W: Future<Output = ()>>(
    reader: impl AsyncRead + Unpin,
    write: impl FnOnce(mpsc::Receiver<Bytes>) -> W,
    pod: Arc<Pod>,
) {
    let (sender, frames) = mpsc::channel(WAITING_MAX);
    let session = Session {
        pod,
        sender,
        streams: HashMap::new(),
        errors: HashMap::new(),
        connections: JoinSet::new(),
    };
    // If either direction ends, the client is gone.
    tokio::select! {
        ended = session.run(reader) => if let Err(error) = ended {
            tracing::debug!(%error, "closed the connection of a port-forwarding client");
        },
        () = write(frames) => {}
    }
}

/// Sends the frames on a connection without WebSocket.
pub(super) async fn write(mut writer: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// One client and its connections.
struct Session {
    pod: Arc<Pod>,
    /// Frames for the client.
    sender: mpsc::Sender<Bytes>,
    /// The inputs of the connections, by their data stream; `None` once the client has sent
    /// its last data.
    streams: HashMap<u32, Option<WriteHalf<DuplexStream>>>,
    /// The error streams of connections without a data stream, by their `requestid`.
    errors: HashMap<String, u32>,
    connections: JoinSet<()>,
}

impl Session {
    async fn run(mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), FrameError> {
        let mut frames = Frames::default();
        loop {
            // Removes connections that have ended.
            while self.connections.try_join_next().is_some() {}
            match frames.read(&mut reader).await? {
                None => return Ok(()),
                Some(Frame::Open { stream, headers }) => {
                    let reply = frames.reply(stream)?;
                    self.open(stream, &headers, reply).await;
                }
                Some(Frame::Data { stream, data, last }) => self.take(stream, &data, last).await,
                Some(Frame::Reset { stream }) => {
                    self.streams.remove(&stream);
                }
                Some(Frame::Ping(answer)) => self.send(answer).await,
                Some(Frame::Other) => {}
            }
        }
    }

    async fn open(&mut self, stream: u32, headers: &HashMap<String, String>, reply: Bytes) {
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        let id = header("requestid").to_owned();
        if self.streams.len() + self.errors.len() >= STREAMS_MAX {
            return self.send(frames::reset(stream)).await;
        }
        self.send(reply).await;
        if header("streamtype") == "error" {
            self.errors.insert(id, stream);
            return;
        }
        let error = self.errors.remove(&id);
        if let Some(refused) = connection::undeclared(&self.pod, header("port")) {
            if let Some(error) = error {
                let refused = frames::data(error, refused.as_bytes(), true);
                self.send(refused).await;
            }
            return self.send(frames::data(stream, &[], true)).await;
        }
        let sender = self.sender.clone();
        let frame = move |piece: &[u8]| Some(frames::data(stream, piece, piece.is_empty()));
        let (input, connection) = connection::open(self.pod.clone(), sender.clone(), frame);
        self.streams.insert(stream, Some(input));
        self.connections.spawn(async move {
            connection.await;
            if let Some(error) = error {
                // Fails if the client is gone.
                let _ = sender.send(frames::data(error, &[], true)).await;
            }
        });
    }

    async fn take(&mut self, stream: u32, data: &[u8], last: bool) {
        let Some(input) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(writer) = input
            && writer.write_all(data).await.is_err()
        {
            *input = None;
        }
        if last && let Some(mut writer) = input.take() {
            // Fails if the guest's side is closed already.
            let _ = writer.shutdown().await;
        }
    }

    async fn send(&self, frame: Bytes) {
        // Fails if the writer has ended, which also ends the session.
        let _ = self.sender.send(frame).await;
    }
}
