//! Components from any toolchain and of both generations of WASI.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};

use crate::support::{Galleria, Host, Service, eventually, manifests};

fn start(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file).start()
}

#[test]
fn component_made_from_javascript_serves_repeated_requests() {
    let host = start(&[Service::new("script", "hello-js").memory("256Mi")]);
    for _ in 0..5 {
        let answer = host.get("/script/");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello from JavaScript\n")
        );
    }
}

#[test]
fn component_made_from_javascript_calls_another_service_in_process() {
    let host = start(&[
        Service::new("script", "hello-js").memory("256Mi"),
        Service::new("good", "hello"),
    ]);
    let answer = host.get("/script/fetch?url=http://good/");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "hello\n"),
        "{:?}",
        answer.headers
    );
    let call = host.call("the call between the services", |call| {
        call["source_workload"] == "test/script"
    });
    assert_eq!(call["destination_workload"], "test/good");
}

#[test]
fn guest_of_wasi_03_serves_requests_concurrently() {
    let host = start(&[Service::new("modern", "hello-p3")]);
    std::thread::scope(|scope| {
        let asleep = scope.spawn(|| host.get("/modern/sleep?ms=2000").status);
        eventually("the sleeping request is in its instance", || {
            let busy = ["workload=\"modern\"", "state=\"busy\""];
            (host.metric("galleria_instances", &busy) == 1.0).then_some(())
        });
        let began = Instant::now();
        assert_eq!(
            host.get("/modern/count").body.trim(),
            "2",
            "both requests share an instance"
        );
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "the request waited for the sleeping one"
        );
        assert_eq!(asleep.join().expect("an answer"), 200);
    });
}

#[test]
fn guest_of_wasi_03_calls_another_service_within_the_same_trace() {
    let host = start(&[
        Service::new("modern", "call-p3"),
        Service::new("good", "hello"),
    ]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = host.get_with("/modern/?url=http://good/", &[("traceparent", parent)]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    let call = host.call("the call between the services", |call| {
        call["source_workload"] == "test/modern"
    });
    assert_eq!(call["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn trap_of_a_wasi_03_guest_is_contained() {
    let host = start(&[Service::new("modern", "hello-p3")]);
    assert_eq!(host.get("/modern/trap").status, 503);
    assert_eq!(host.get("/modern/").status, 200);
}

#[test]
fn isolation_decides_whether_an_instance_is_reused() {
    let host = start(&[
        Service::new("fresh", "status"),
        Service::new("kept", "status").annotation("galleria.dev/isolation", "instance"),
    ]);
    let count = |service: &str| {
        host.get(&format!("/{service}/counter"))
            .body
            .trim()
            .to_owned()
    };
    assert_eq!(
        [count("fresh"), count("fresh"), count("fresh")],
        ["1", "1", "1"]
    );
    assert_eq!(
        [count("kept"), count("kept"), count("kept")],
        ["1", "2", "3"]
    );
}

#[test]
fn bodies_are_streamed_in_both_directions() {
    let host = start(&[
        Service::new("large", "large-body"),
        Service::new("echo", "echo"),
    ]);
    assert_eq!(host.get("/large/?mib=40").body.len(), 40 << 20);
    let text = "0123456789abcdef".repeat(1 << 16);
    let answer = host.post("/echo/", &serde_json::Value::String(text.clone()));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.len(), text.len() + 2);
    // The guest has 64 MiB for all of its instances, less than the streamed bodies.
    assert!(host.metric("galleria_memory_bytes", &["workload=\"large\""]) < 8e6);
}

#[test]
fn trailers_are_forwarded_over_every_hop_in_both_directions() {
    let host = start(&[Service::new("echo", "echo")]);
    let address = host.listener(80);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let trailers = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address)
            .await
            .expect("a connection");
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", "abc".parse().expect("a value"));
        let body = Full::new(bytes::Bytes::from("some text"))
            .with_trailers(std::future::ready(Some(Ok(trailers))));
        let request = http::Request::post(format!("http://{address}/echo/"))
            .body(body)
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        let collected = response.into_body().collect().await.expect("a body");
        let trailers = collected.trailers().cloned();
        assert_eq!(collected.to_bytes(), "some text");
        trailers
    });
    assert_eq!(trailers.expect("trailers")["x-checksum"], "abc");
}
