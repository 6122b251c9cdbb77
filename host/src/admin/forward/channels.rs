//! `v4.channel.k8s.io`: each port has one connection, and two channels of a WebSocket.
//!
//! The first byte of a message is its channel: 2N for the data of the N-th port, 2N + 1 for
//! its error, which only the server sends. The first message in each channel contains the
//! port, as two bytes with the lower one first. A channel cannot be closed: the server closes
//! the WebSocket when all connections have ended.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, DuplexStream, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::websocket::{self, Messages, Sink};
use super::{WAITING_MAX, connection};
use crate::workload::Pod;

/// The inputs of the connections, by the index of the port. `None` if the connection was
/// refused or has ended.
type Inputs = Vec<Option<WriteHalf<DuplexStream>>>;

pub(super) async fn serve(sink: Sink, messages: Messages, ports: &[u16], pod: &Arc<Pod>) {
    let (sender, frames) = mpsc::channel(WAITING_MAX);
    let mut connections = JoinSet::new();
    let mut inputs = Inputs::new();
    for (data, port) in (0..).step_by(2).zip(ports) {
        inputs.push(open(&mut connections, data, *port, pod, sender.clone()));
    }
    // Only the connections hold senders, so that the writer ends with the last of them.
    drop(sender);
    tokio::select! {
        read = read(messages, inputs) => if let Err(error) = read {
            tracing::debug!(%error, "closed the connection of a port-forwarding client");
        },
        () = websocket::write(sink, frames) => {}
    }
}

/// Opens the connection of one port, whose data is in the channel `data`.
fn open(
    connections: &mut JoinSet<()>,
    data: u8,
    port: u16,
    pod: &Arc<Pod>,
    sender: mpsc::Sender<Bytes>,
) -> Option<WriteHalf<DuplexStream>> {
    let error = data + 1;
    let head = port.to_le_bytes();
    let heads = [message(data, &head), message(error, &head)];
    if let Some(refused) = connection::undeclared(pod, &port.to_string()) {
        let refused = message(error, refused.as_bytes());
        connections.spawn(send(sender, heads.into_iter().chain([refused])));
        return None;
    }
    let frame = move |piece: &[u8]| (!piece.is_empty()).then(|| message(data, piece));
    let (input, connection) = connection::open(pod.clone(), sender.clone(), frame);
    connections.spawn(async move {
        send(sender, heads).await;
        connection.await;
    });
    Some(input)
}

async fn send(sender: mpsc::Sender<Bytes>, messages: impl IntoIterator<Item = Bytes>) {
    for message in messages {
        // Fails if the client is gone, which also ends this task.
        let _ = sender.send(message).await;
    }
}

/// Passes the client's messages to the connections, until the client closes the WebSocket.
async fn read(mut messages: Messages, mut inputs: Inputs) -> io::Result<()> {
    while let Some(message) = messages.next().await? {
        let (channel, data) = message
            .split_first()
            .ok_or_else(|| io::Error::other("a message has no channel"))?;
        let input = inputs
            .get_mut(usize::from(channel / 2))
            .ok_or_else(|| io::Error::other("a message has an unknown channel"))?;
        if channel % 2 == 0
            && let Some(writer) = input
            && writer.write_all(data).await.is_err()
        {
            *input = None;
        }
    }
    Ok(())
}

fn message(channel: u8, content: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + content.len());
    message.put_u8(channel);
    message.put_slice(content);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_with_their_channel() {
        assert_eq!(message(3, &8080_u16.to_le_bytes())[..], [3, 0x90, 0x1f]);
        assert_eq!(message(0, b"GET")[..], *b"\0GET");
    }
}
