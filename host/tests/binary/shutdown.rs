//! Shutdown: accepted requests are answered before the process exits.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Galleria, Service, eventually, manifests};

#[test]
fn sigterm_under_load_loses_no_accepted_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("slow", "slow")])).expect("a file");
    let mut host = Galleria::run(file).start();
    let answered = AtomicUsize::new(0);
    let url = host.url("/slow/?ms=300");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                // One connection per request, so that each is either accepted or refused
                // as a whole.
                loop {
                    let agent = ureq::Agent::config_builder().build().new_agent();
                    match agent.get(&url).header("connection", "close").call() {
                        Ok(response) => {
                            assert_eq!(response.status(), 200);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(ureq::Error::ConnectionFailed) => return,
                        // A reset is a connection that arrived at the moment when the
                        // listener closed. The log below shows that the host read no
                        // request from it.
                        Err(ureq::Error::Io(error))
                            if matches!(
                                error.kind(),
                                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
                            ) =>
                        {
                            return;
                        }
                        Err(error) => panic!("an accepted request was lost: {error}"),
                    }
                }
            });
        }
        eventually("some load", || {
            (answered.load(Ordering::Relaxed) > 32).then_some(())
        });
        host.terminate();
    });
    let status = host.wait();
    assert_eq!(status.code(), Some(0), "{}", host.stderr());
    let calls = host.calls();
    assert_eq!(
        calls.len(),
        answered.into_inner(),
        "every request that the host read was answered"
    );
    assert!(calls.iter().all(|call| call["response_code"] == 200));
}

#[test]
fn readiness_fails_before_the_host_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("slow", "slow")])).expect("a file");
    let mut host = Galleria::run(file).start();
    assert_eq!(host.status("/healthz/ready").status, 200);
    std::thread::scope(|scope| {
        let last = scope.spawn(|| host.get("/slow/?ms=1500"));
        eventually("the request is in flight", || {
            (host.metric(
                "galleria_instances",
                &["state=\"busy\"", "workload=\"slow\""],
            ) == 1.0)
                .then_some(())
        });
        host.terminate();
        eventually("readiness fails", || {
            (host.status("/healthz/ready").status == 503).then_some(())
        });
        assert_eq!(host.status("/healthz/live").status, 200);
        assert_eq!(last.join().expect("an answer").status, 200);
    });
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn pre_stop_hook_is_called_before_the_pod_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let hook =
        "env: []\n          lifecycle: {preStop: {httpGet: {path: /last-words, port: 8080}}}";
    let manifest = manifests(&[Service::new("talker", "stdio")]).replace("env: []", hook);
    std::fs::write(&file, manifest).expect("a file");
    let mut host = Galleria::run(file).start();
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    eventually("its line", || {
        host.stdout().contains("out: /last-words").then_some(())
    });
}
