//! The byte stream of a client's connection: counts bytes, gives up a client that does not
//! read, and closes so that the last response arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::READ_RATE_MIN;
use super::room::Place;
use crate::telemetry::metrics::{CloseReason, PortMeters};

/// How long the client may take to close its side after the last response. Closing immediately
/// while the client still sends would reset the connection, and the reset would destroy the
/// part of the response that is still on its way.
const LINGER: Duration = Duration::from_secs(1);

/// The maximum number of bytes that are read and discarded during that time.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Bytes that a connection writes before it yields. The system may accept megabytes at once,
/// and copying them takes milliseconds.
const TURN_BYTES: usize = 128 << 10;

/// Counts as an open connection and occupies a slot for as long as it lives.
pub(super) struct ClientStream<S> {
    stream: S,
    meters: Arc<PortMeters>,
    place: Place,
    stall: Stall,
    /// Bytes written since the last yield.
    in_turn: usize,
    /// When something was last written. The response may still be on its way.
    last_write: Option<Instant>,
    linger: Option<Linger>,
}

/// How long the client has been reading too slowly.
struct Stall {
    limit: Duration,
    /// Runs while bytes wait for the client.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that the client has taken since the timer started, and when it took the last one.
    taken: u64,
    last: Instant,
}

/// The write side is closed, and the client has time to close its own.
struct Linger {
    timer: Pin<Box<Sleep>>,
    dropped: usize,
}

impl<S> ClientStream<S> {
    pub(super) fn new(
        stream: S,
        meters: Arc<PortMeters>,
        place: Place,
        stall_limit: Duration,
    ) -> Self {
        meters.open.fetch_add(1, Relaxed);
        meters.accepted.fetch_add(1, Relaxed);
        Self {
            stream,
            meters,
            place,
            stall: Stall {
                limit: stall_limit,
                timer: None,
                taken: 0,
                last: Instant::now(),
            },
            in_turn: 0,
            last_write: None,
            linger: None,
        }
    }

    /// Yields if the connection has written enough: pending, and woken immediately.
    fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.in_turn < TURN_BYTES {
            return Poll::Ready(());
        }
        self.in_turn = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Records the result of a write of `wanted` bytes.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        wanted: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.meters.sent.fetch_add(count as u64, Relaxed);
                self.in_turn += count;
                self.last_write = Some(Instant::now());
                self.stall.progress(count, wanted);
            }
            Poll::Pending => {
                self.in_turn = 0;
                if self.stall.poll(context).is_ready() {
                    self.meters.closed(CloseReason::Stalled);
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client does not read the response",
                    )));
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl Stall {
    fn progress(&mut self, count: usize, wanted: usize) {
        self.last = Instant::now();
        if count == wanted {
            self.timer = None;
            self.taken = 0;
        } else {
            self.taken = self.taken.saturating_add(count as u64);
        }
    }

    /// Ready when the client has taken nothing for the limit, or too little during it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        loop {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(timer.as_mut().poll(context));
            let next = self.last + limit;
            let enough = READ_RATE_MIN.saturating_mul(limit.as_secs().max(1));
            if self.taken < enough || next <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(next);
            self.taken = 0;
        }
    }
}

impl<S> Drop for ClientStream<S> {
    fn drop(&mut self) {
        self.meters.open.fetch_sub(1, Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        if count > 0 {
            self.meters.received.fetch_add(count as u64, Relaxed);
            self.place.activity.received();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.written(context, data.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        let wanted = data.iter().map(|part| part.len()).sum();
        self.written(context, wanted, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Closes the write side, then reads for a limited time until the client closes its own.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            let recent = this.last_write.is_some_and(|it| it.elapsed() < LINGER);
            if !recent {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            timer: Box::pin(tokio::time::sleep(LINGER)),
            dropped: 0,
        });
        let mut scratch = [0; 4_096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.dropped += buffer.filled().len();
                    if linger.dropped > LINGER_BYTES_MAX {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The client has closed the connection, or it is broken.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        linger.timer.as_mut().poll(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::super::limits::Capacity;
    use super::super::room::Room;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn pair() -> (ClientStream<DuplexStream>, DuplexStream) {
        with_buffer(1_024)
    }

    fn with_buffer(bytes: usize) -> (ClientStream<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(bytes);
        let capacity = Capacity {
            total: 1,
            listener: 1,
            client: 1,
        };
        let place = Room::new(capacity).listener().take(None).expect("a place");
        (ClientStream::new(near, Arc::default(), place, LIMIT), far)
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_is_disconnected_after_the_limit() {
        let (mut stream, far) = pair();
        let began = Instant::now();
        let error = stream.write_all(&[0; 4_096]).await.expect_err("no reader");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_much_at_first_is_disconnected_after_the_same_limit() {
        let (mut stream, mut far) = pair();
        let began = Instant::now();
        let reader = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut much = vec![0; 64 << 10];
            far.read_exact(&mut much).await.expect("bytes");
            far
        });
        let error = stream
            .write_all(&[0; 1 << 20])
            .await
            .expect_err("no reader");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs() + 1);
        drop(reader.await.expect("no failure"));
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_single_bytes_is_disconnected_too() {
        let (mut stream, mut far) = pair();
        let reader = tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let began = Instant::now();
        let error = stream.write_all(&[0; 1 << 20]).await.expect_err("slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() <= 2 * LIMIT);
        drop(stream);
        reader.await.expect("no failure");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_that_keeps_the_minimum_rate_gets_everything() {
        let (mut stream, mut far) = pair();
        let reader = tokio::spawn(async move {
            let mut total = 0;
            let mut buffer = [0; 1_024];
            loop {
                match far.read(&mut buffer).await.expect("bytes") {
                    0 => return total,
                    count => total += count,
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        stream.write_all(&[0; 256 << 10]).await.expect("a reader");
        drop(stream);
        assert_eq!(reader.await.expect("no failure"), 256 << 10);
    }

    #[tokio::test]
    async fn fast_client_yields_to_others() {
        let (mut stream, far) = with_buffer(1 << 20);
        let all = vec![0; 4 * TURN_BYTES];
        let mut writing = std::pin::pin!(async {
            for part in all.chunks(16 << 10) {
                stream.write_all(part).await.expect("room");
            }
        });
        let mut turns = 1;
        while futures::poll!(writing.as_mut()).is_pending() {
            turns += 1;
        }
        assert_eq!(turns, 4);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_a_limited_time_for_the_client_to_close() {
        let (mut stream, mut far) = pair();
        stream.write_all(b"answer").await.expect("a reader");
        far.write_all(b"more of a body").await.expect("a writer");
        let began = Instant::now();
        stream.shutdown().await.expect("an end");
        assert_eq!(began.elapsed(), LINGER);
        let (mut stream, mut far) = pair();
        stream.write_all(b"answer").await.expect("a reader");
        let client = tokio::spawn(async move {
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.expect("an answer");
            answer
        });
        let began = Instant::now();
        stream.shutdown().await.expect("an end");
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(client.await.expect("no failure"), "answer");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_of_an_idle_connection_does_not_wait() {
        let (mut stream, _far) = pair();
        let began = Instant::now();
        stream.shutdown().await.expect("an end");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
