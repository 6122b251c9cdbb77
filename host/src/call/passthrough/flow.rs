//! Bytes in both directions, with a bound on what waits in the host and on silence.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep};

use crate::filtered::{Filtered, ReadFilter};

/// Bytes that wait in the host, for each direction.
const BUFFER: usize = 16 << 10;

/// How often progress is reported, as Istio reports that of TCP connections.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What a connection has carried.
pub(super) struct Flow {
    began: Instant,
    /// Bytes of the client.
    received: AtomicU64,
    /// Bytes of the server.
    sent: AtomicU64,
    /// When the last byte arrived, in milliseconds after `began`.
    last: AtomicU64,
}

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Both ends have closed it, or one of them has failed.
    Closed,
    /// It carried nothing for too long.
    Idle,
}

/// Counts what is read.
struct Count<'f> {
    bytes: &'f AtomicU64,
    flow: &'f Flow,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// Bytes of the client and of the server.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }

    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Copies until both ends have closed, or nothing arrives for `idle_max`. Calls `progress`
    /// from time to time.
    pub(super) async fn copy<C, S>(
        &self,
        client: C,
        server: S,
        idle_max: Duration,
        mut progress: impl FnMut(),
    ) -> Ended
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.arrived();
        let mut client = self.counted(client, &self.received);
        let mut server = self.counted(server, &self.sent);
        let copying = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER);
        let mut copying = std::pin::pin!(copying);
        loop {
            tokio::select! {
                ended = copying.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection that is passed through has failed");
                    }
                    return Ended::Closed;
                }
                () = sleep(REPORT_INTERVAL.min(idle_max)) => progress(),
            }
            if self.silence() >= idle_max {
                return Ended::Idle;
            }
        }
    }

    fn counted<'f, S>(&'f self, stream: S, bytes: &'f AtomicU64) -> Filtered<S, Count<'f>> {
        let filter = Count { bytes, flow: self };
        Filtered { stream, filter }
    }

    fn arrived(&self) {
        let now = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
    }

    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Relaxed));
        self.age().saturating_sub(last)
    }
}

impl ReadFilter for Count<'_> {
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = stream.poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        if count > 0 {
            self.bytes.fetch_add(count as u64, Relaxed);
            self.flow.arrived();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_in_both_directions() {
        let flow = Flow::new();
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let talk = async {
            client.write_all(b"hello").await.expect("written");
            let mut request = [0; 5];
            server.read_exact(&mut request).await.expect("read");
            server.write_all(b"bye").await.expect("written");
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("read");
            drop(client);
            answer
        };
        let (ended, answer) = tokio::join!(flow.copy(near, far, IDLE, || {}), talk);
        assert_eq!(
            (ended, answer.as_slice()),
            (Ended::Closed, b"bye".as_slice())
        );
        assert_eq!(flow.bytes(), (5, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_ends_and_a_slow_one_does_not() {
        let flow = Flow::new();
        let (mut client, near) = duplex(64);
        let (far, _server) = duplex(64);
        let began = Instant::now();
        let talk = async {
            for _ in 0..4 {
                sleep(IDLE / 2).await;
                client.write_all(b"a").await.expect("open");
            }
        };
        let mut reports = 0;
        let (ended, ()) = tokio::join!(flow.copy(near, far, IDLE, || reports += 1), talk);
        assert_eq!(ended, Ended::Idle);
        let silent_after = began.elapsed();
        assert!(
            silent_after >= IDLE * 3 && silent_after < IDLE * 4,
            "{silent_after:?}"
        );
        assert!(reports > 10);
    }
}
