//! Connections in memory, with simulated time.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2 as client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::super::limits::Capacity;
use super::super::room::{Place, Room};
use super::super::stream::ClientStream;
use super::*;

/// What the clients of the tests send.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers with the length of the request's body, for `/slow` after a minute.
#[derive(Clone)]
struct Length;

impl Handler for Length {
    type Client = ();
    type Body = Full<Bytes>;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<RequestBody>,
        (): (),
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let text = match request.into_body().collect().await {
            Ok(body) => body.to_bytes().len().to_string(),
            Err(error) => error.to_string(),
        };
        Ok(Response::new(Full::from(text)))
    }
}

/// A connection that is being served, and its client side.
struct ServedConnection {
    client: DuplexStream,
    stop: CancellationToken,
    activity: Arc<Activity>,
    meters: Arc<PortMeters>,
    began: Instant,
    ended: JoinHandle<()>,
}

fn serve_one() -> ServedConnection {
    let (client, near) = duplex(64 << 10);
    let stop = CancellationToken::new();
    let meters = Arc::<PortMeters>::default();
    let terms = Terms {
        timeouts: ClientTimeouts::default(),
        transport: Transport::Plain,
        retired: None,
        meters: meters.clone(),
        address: None,
        for_hosts: false,
        stop: stop.clone(),
        cut: CancellationToken::new(),
    };
    let place = place();
    let activity = place.activity.clone();
    let stream = ClientStream::new(near, meters.clone(), place, terms.timeouts.stall);
    let serving = serve_connection(stream, (), Length, activity.clone(), terms);
    ServedConnection {
        client,
        stop,
        activity,
        meters,
        began: Instant::now(),
        ended: tokio::spawn(serving),
    }
}

fn place() -> Place {
    let capacity = Capacity {
        total: 1,
        listener: 1,
        client: 1,
    };
    Room::new(capacity).listener().take(None).expect("a place")
}

impl ServedConnection {
    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.expect("a reader");
    }

    /// Reads one response that has a body.
    async fn response(&mut self) -> String {
        let mut response = Vec::new();
        loop {
            let byte = self.client.read_u8().await.expect("more of the response");
            response.push(byte);
            let text = String::from_utf8_lossy(&response);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse().ok());
            if length == Some(body.len()) {
                return text.into_owned();
            }
        }
    }

    /// The number of seconds after which the host closed the connection, and the bytes it sent
    /// before that. Idle time passes immediately, because time is simulated.
    async fn closed(mut self) -> (u64, Vec<u8>) {
        let mut rest = Vec::new();
        // A reset also ends the connection.
        let _ = self.client.read_to_end(&mut rest).await;
        let seconds = self.began.elapsed().as_secs();
        drop(self.client);
        self.ended.await.expect("no failure");
        (seconds, rest)
    }
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_complete_head_is_closed_after_the_head_timeout() {
    let half_headers = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 1]].concat();
    let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let first_bytes: [&[u8]; 8] = [
        b"",
        b"P",
        b"PRI * HTT",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: test\r\n",
        PREFACE,
        &settings,
        &half_headers,
    ];
    for bytes in first_bytes {
        let mut served = serve_one();
        served.send(bytes).await;
        let meters = served.meters.clone();
        let (seconds, _) = served.closed().await;
        let text = String::from_utf8_lossy(bytes);
        // On HTTP/2 the client is first asked to close, and has a moment for it.
        assert!((10..=16).contains(&seconds), "{text}: {seconds}");
        assert_eq!(meters.closed_for(CloseReason::Head), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_head_does_not_extend_the_head_timeout() {
    let mut served = serve_one();
    for byte in REQUEST {
        if served.client.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (seconds, rest) = served.closed().await;
    assert!(seconds >= 10);
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_kept_for_a_minute_and_an_incomplete_head_for_less() {
    let mut served = serve_one();
    served.send(REQUEST).await;
    assert!(served.response().await.starts_with("HTTP/1.1 200"));
    let (seconds, rest) = served.closed().await;
    assert!((60..=61).contains(&seconds), "{seconds}");
    assert!(rest.is_empty());

    let mut served = serve_one();
    served.send(REQUEST).await;
    served.response().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    served.send(b"GET /").await;
    let (seconds, _) = served.closed().await;
    assert!((40..=51).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn request_may_take_longer_than_the_idle_timeout() {
    let mut served = serve_one();
    served
        .send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    assert!(served.response().await.starts_with("HTTP/1.1 200"));
    assert_eq!(served.began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn slow_body_gets_408_and_the_connection_is_closed() {
    let mut served = serve_one();
    let head = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nhalf";
    served.send(head).await;
    let response = served.response().await;
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
    assert!(response.contains("connection: close"), "{response}");
    assert_eq!(served.began.elapsed().as_secs(), 10);
    let (seconds, _) = served.closed().await;
    assert!(seconds <= 12, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn evicted_connection_is_closed_at_once_unless_a_request_is_in_progress() {
    let mut served = serve_one();
    served
        .send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.activity.evict();
    assert!(served.response().await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.activity.evict();
    let (seconds, _) = served.closed().await;
    assert_eq!(seconds, 61);
}

#[tokio::test(start_paused = true)]
async fn stopping_host_notifies_the_client_with_its_next_response() {
    let mut served = serve_one();
    served.send(REQUEST).await;
    assert!(!served.response().await.contains("connection: close"));
    served.stop.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.send(REQUEST).await;
    let response = served.response().await;
    assert!(response.contains("connection: close"), "{response}");
    let (seconds, _) = served.closed().await;
    assert!(seconds <= 2, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn stopping_host_closes_idle_connections_and_answers_requests_in_progress() {
    let mut idle = serve_one();
    idle.send(REQUEST).await;
    idle.response().await;
    let silent = serve_one();
    let mut busy = serve_one();
    busy.send(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for served in [&idle, &silent, &busy] {
        served.stop.cancel();
    }
    assert_eq!(idle.closed().await.0, 3);
    assert_eq!(silent.closed().await.0, 3);
    let response = busy.response().await;
    assert!(response.contains("connection: close"), "{response}");
    assert!(busy.closed().await.0 <= 61);
}

#[tokio::test(start_paused = true)]
async fn http2_client_gets_goaway_and_its_streams_are_answered() {
    let served = serve_one();
    let io = TokioIo::new(served.client);
    let (mut sender, connection) = client::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    let client = tokio::spawn(connection);
    let request = |path: &str| {
        let request = Request::get(format!("http://test{path}"));
        request.body(Full::<Bytes>::default()).expect("a request")
    };
    let first = sender.send_request(request("/")).await.expect("a response");
    assert_eq!(first.status(), StatusCode::OK);
    let slow = tokio::spawn(sender.send_request(request("/slow")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.stop.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = sender.send_request(request("/")).await;
    assert!(late.expect_err("no more streams").is_canceled());
    let slow = slow.await.expect("no failure").expect("a response");
    let body = slow.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "0");
    client.await.expect("no failure").expect("a clean end");
    served.ended.await.expect("no failure");
    assert!(served.began.elapsed().as_secs() <= 61);
}

#[tokio::test(start_paused = true)]
async fn http2_connection_without_streams_is_closed_after_a_minute() {
    let served = serve_one();
    let io = TokioIo::new(served.client);
    let (mut sender, connection) = client::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    let client = tokio::spawn(connection);
    let request = Request::get("http://test/").body(Full::<Bytes>::default());
    let request = request.expect("a request");
    let response = sender.send_request(request).await.expect("a response");
    drop(response);
    client.await.expect("no failure").expect("a clean end");
    let seconds = served.began.elapsed().as_secs();
    assert!((60..=71).contains(&seconds), "{seconds}");
    assert_eq!(served.meters.closed_for(CloseReason::Idle), 1);
}
