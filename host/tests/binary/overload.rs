//! More requests than the host can serve: it serves as many as it can, and refuses the
//! rest in a way that clients understand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{Galleria, Host, Service, eventually, manifests};

/// The responses that the clients got.
#[derive(Debug, Default)]
struct Answers {
    served: AtomicUsize,
    refused: AtomicUsize,
    /// The head of a response that is neither 200 nor a proper refusal.
    strange: Mutex<Option<String>>,
}

impl Answers {
    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// `clients` clients request `path` for `time`, each again as soon as it has its
/// response.
fn flood(host: &Host, path: &str, clients: usize, time: Duration) -> Arc<Answers> {
    let answers = Arc::<Answers>::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let address = host.listener(80);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let (address, path, answers) = (address.clone(), path.to_owned(), answers.clone());
            tasks.spawn(async move { client(&address, &path, &answers).await });
        }
        tokio::time::sleep(time).await;
    });
    answers
}

async fn client(address: &str, path: &str, answers: &Answers) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let mut stream = BufReader::new(stream);
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    loop {
        stream.write_all(request.as_bytes()).await.expect("a host");
        let (mut head, mut length) = (String::new(), None);
        loop {
            let before = head.len();
            stream.read_line(&mut head).await.expect("a head");
            let line = head[before..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().expect("a length"));
            }
            if line == "\r\n" {
                break;
            }
        }
        match length {
            Some(length) => {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.expect("a body");
            }
            None => {
                let mut chunks = String::new();
                while !chunks.ends_with("\r\n0\r\n\r\n") {
                    stream.read_line(&mut chunks).await.expect("a chunk");
                }
            }
        }
        let counter = match head.split(' ').nth(1) {
            Some("200") => &answers.served,
            Some("503") if head.contains("retry-after: 1\r\n") => &answers.refused,
            _ => {
                *answers.strange.lock().expect("unpoisoned") = Some(head);
                continue;
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn overloaded_host_keeps_serving_and_refuses_the_rest_properly() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let reused = |name| Service::new(name, "spin").annotation("galleria.dev/isolation", "instance");
    std::fs::write(&file, manifests(&[reused("flooded"), reused("other")])).expect("a file");
    let host = Galleria::run(file).argument("--access-log=off").start();
    let path = "/flooded/spin?ms=4";
    let alone = flood(&host, path, 16, Duration::from_secs(3));
    let (flooded, neighbour) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&host, path, 600, Duration::from_secs(5)));
        let mut neighbour = Vec::new();
        while !flooding.is_finished() {
            neighbour.push(host.get("/other/spin?ms=1").status);
        }
        (flooding.join().expect("answers"), neighbour)
    });
    for answers in [&alone, &flooded] {
        let strange = answers.strange.lock().expect("unpoisoned");
        assert_eq!(*strange, None);
    }
    // Five seconds compared with three, in an unoptimised build, while other tests run: a
    // host that collapses serves a few per cent.
    assert!(
        flooded.served() * 2 >= alone.served(),
        "{flooded:?} after {alone:?}"
    );
    assert!(
        neighbour.iter().all(|status| *status == 200) && neighbour.len() > 2,
        "requests to another service are served: {neighbour:?}"
    );
    eventually("it recovers", || {
        let answers: Vec<_> = (0..20).map(|_| host.get(path).status).collect();
        answers.iter().all(|status| *status == 200).then_some(())
    });
}

#[test]
fn requests_wait_if_more_instances_would_not_fit_into_the_pods_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let service = Service::new("large", "allocate").memory("64Mi");
    std::fs::write(&file, manifests(&[service])).expect("a file");
    let host = Galleria::run(file).start();
    // The host learns how large instances become.
    assert_eq!(host.get("/large/?mib=12").status, 200);
    // The response may arrive before the instance has ended and been measured.
    eventually("the instance has ended", || {
        let busy = host.metric("galleria_instances", &["state=\"busy\""]);
        (busy == 0.0).then_some(())
    });
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| [(); 8].map(|()| host.get("/large/?mib=12").status)))
            .collect();
        let answers = clients.into_iter().map(|it| it.join().expect("answers"));
        answers.flatten().collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}
