//! SIGTERM while clients keep their connections open: each is notified, and no request is
//! lost.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::clients::ask;
use super::galleria;
use crate::support::{Host, eventually};

/// Number of hosts that are stopped, one after another, while as many others run.
const ROUNDS: usize = 5;
const AT_ONCE: usize = 4;

/// Counts of what happened to the requests of one host's clients.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    /// Connections that the host asked to close, after a response.
    notified: AtomicUsize,
    stopped: AtomicBool,
}

#[test]
fn sigterm_loses_no_request_on_a_keep_alive_connection() {
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    stop_under_load();
                }
            });
        }
    });
}

fn stop_under_load() {
    let (_folder, host) = galleria(Vec::new());
    let mut host = host.start();
    let address = host.listener(80);
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while keep_asking(&address, &tally) {});
        }
        scope.spawn(|| ask_by_http2(&address, &tally));
        eventually("some load", || {
            (tally.answered.load(Ordering::Relaxed) > 500).then_some(())
        });
        terminate(&host, &tally);
    });
    assert_eq!(host.wait().code(), Some(0), "{}", host.stderr());
    let calls = host.calls();
    assert_eq!(
        calls.len(),
        tally.answered.into_inner(),
        "every request that the host read was answered"
    );
    assert!(calls.iter().all(|call| call["response_code"] == 200));
    assert!(
        tally.notified.into_inner() >= 5,
        "every client was notified"
    );
}

fn terminate(host: &Host, tally: &Tally) {
    tally.stopped.store(true, Ordering::Relaxed);
    host.terminate();
}

/// Sends requests on one connection until the host announces that it closes it. Returns
/// false if the host is gone.
fn keep_asking(address: &str, tally: &Tally) -> bool {
    let Ok(stream) = TcpStream::connect(address) else {
        assert!(tally.stopped.load(Ordering::Relaxed), "a host");
        return false;
    };
    stream.set_nodelay(true).expect("an option");
    let mut stream = BufReader::new(stream);
    let mut is_new = true;
    loop {
        match ask(&mut stream, "/good/") {
            Ok(Some(answer)) => {
                assert_eq!(answer.status, 200);
                tally.answered.fetch_add(1, Ordering::Relaxed);
                if answer.closes {
                    tally.notified.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
            }
            // The connection was made at the moment when the listener closed. The host
            // never accepted it, as its log shows.
            Ok(None) | Err(_) if is_new => {
                assert!(tally.stopped.load(Ordering::Relaxed), "a connection");
                return false;
            }
            Ok(None) => panic!("a keep-alive connection was closed without notice"),
            Err(error) => panic!("an accepted request was lost: {error}"),
        }
        is_new = false;
    }
}

/// Sends four requests at a time on one HTTP/2 connection, until the host sends GOAWAY.
fn ask_by_http2(address: &str, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("a connection");
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
        let asking = (0..4).map(|_| async {
            let mut sender = sender.clone();
            // An error here means that the host accepts no more streams; nothing was
            // sent.
            while sender.ready().await.is_ok() {
                let request = hyper::Request::get(format!("http://{address}/good/"));
                let request = request.body(Empty::<Bytes>::new()).expect("a request");
                let response = match sender.send_request(request).await {
                    Ok(response) => response,
                    Err(error) => {
                        assert!(was_not_begun(&error), "a request was lost: {error:?}");
                        continue;
                    }
                };
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.expect("a body");
                tally.answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let asking = futures::future::join_all(asking);
        let (_, ended) = tokio::join!(asking, connection);
        ended.expect("a clean end");
    });
    tally.notified.fetch_add(1, Ordering::Relaxed);
}

/// Whether the host reported that it did not start to process the request, so that it can
/// be sent to another host.
fn was_not_begun(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let reset = source.and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled()
        || reset.is_some_and(|reset| {
            let reason = reset.reason();
            reason == Some(h2::Reason::REFUSED_STREAM)
                || reset.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
        })
}
