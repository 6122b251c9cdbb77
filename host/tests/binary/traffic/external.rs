//! External services: only those that a ServiceEntry declares can be reached.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use super::{Shop, flags, with_rules};
use crate::support::{Service, eventually};

/// A server that answers every request with the requested host. The thread ends with the
/// test program.
pub(super) fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a stream");
                let mut host = String::new();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some((_, value)) = line
                        .split_once(": ")
                        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
                    {
                        host = value.to_owned();
                    } else if line.is_empty() {
                        let body = format!("outside, as {host}\n");
                        let head =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        // The client may have disconnected.
                        let _ = writer.write_all((head + &body).as_bytes());
                    }
                }
            });
        }
    });
    address
}

fn caller(entry: &str) -> String {
    let entries: &[String] = &[entry.to_owned()];
    let entries = if entry.is_empty() { &[] } else { entries };
    with_rules(&[Service::new("call", "call")], "", entries)
}

pub(super) fn service_entry(address: SocketAddr, resolution: &str) -> String {
    let host = match resolution {
        "DNS" => "localhost".to_owned(),
        _ => address.ip().to_string(),
    };
    let port = address.port();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: test}}
spec:
  hosts: [api.example.com]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: {resolution}
  endpoints: [{{address: {host}, ports: {{http: {port}}}}}]
"
    )
}

fn declared_is_reached(resolution: &str) {
    let address = server();
    let shop = Shop::start(&caller(&service_entry(address, resolution)));
    for _ in 0..2 {
        let answer = shop.host.get("/call/?url=http://api.example.com/price");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body, "outside, as api.example.com\n");
    }
    let call = &shop.calls("/price", 2)[0];
    assert_eq!(flags(call), "-");
    assert_eq!(call["upstream_cluster"], "outbound|80||api.example.com");
    assert_eq!(call["source_workload"], "test/call");
    shop.counted(
        &[
            "source_workload=\"call\"",
            "destination_service=\"api.example.com\"",
            "response_code=\"200\"",
        ],
        2.0,
    );
}

#[test]
fn declared_address_is_reached() {
    declared_is_reached("STATIC");
}

#[test]
fn declared_name_is_resolved_and_reached() {
    declared_is_reached("DNS");
}

#[test]
fn undeclared_destination_is_refused_with_the_entry_that_would_allow_it() {
    let address = server();
    let shop = Shop::start(&caller(""));
    let answer = shop.host.get(&format!("/call/?url=http://{address}/price"));
    assert_eq!(answer.header("x-upstream-status"), "502", "{}", answer.body);
    let call = &shop.calls("/price", 1)[0];
    assert_eq!(call["response_code"], 502);
    let details = call["response_code_details"].as_str().expect("text");
    let allowing = format!(
        "a ServiceEntry with hosts: [{}], ports: [{{number: {},",
        address.ip(),
        address.port()
    );
    assert!(details.contains(&allowing), "{details}");
    shop.counted(&["source_workload=\"call\"", "response_code=\"502\""], 1.0);
}

#[test]
fn allow_any_permits_undeclared_destinations() {
    let address = server();
    let open = ["--outbound-policy", "allow-any"];
    let loopback = ["--outbound-private-network", "127.0.0.0/8"];
    let shop = Shop::start_with(&caller(""), &[open, loopback].concat());
    let answer = shop.host.get(&format!("/call/?url=http://{address}/price"));
    assert_eq!(answer.body, format!("outside, as {address}\n"));
    let call = &shop.calls("/price", 1)[0];
    assert_eq!(call["upstream_cluster"], "PassthroughCluster");
    assert_eq!(flags(call), "-");
    shop.counted(&["source_workload=\"call\"", "response_code=\"200\""], 1.0);
}

#[test]
fn allow_any_refuses_addresses_that_are_not_public() {
    let port = server().port();
    let shop = Shop::start_with(&caller(""), &["--outbound-policy", "allow-any"]);
    for (host, says) in [
        ("127.0.0.1", "127.0.0.1 is 127.0.0.1"),
        ("localhost", "localhost resolves to "),
        ("2130706433", "2130706433 resolves to 127.0.0.1"),
        ("169.254.169.254", "169.254.169.254 is "),
    ] {
        let path = format!("/{host}");
        let url = format!("http://{host}:{port}{path}");
        let answer = shop.host.get(&format!("/call/?url={url}"));
        assert_eq!(answer.header("x-upstream-status"), "502", "{}", answer.body);
        let call = &shop.calls(&path, 1)[0];
        let details = call["response_code_details"].as_str().expect("text");
        assert!(
            details.contains(says) && details.contains("not public"),
            "{details}"
        );
    }
}

#[test]
fn sidecar_hides_what_it_does_not_contain() {
    let entry = service_entry(server(), "STATIC");
    let sidecar = |hosts: &str| {
        format!(
            "{entry}---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: call, namespace: test}}
spec:
  workloadSelector: {{labels: {{app: call}}}}
  egress: [{{hosts: {hosts}}}]
"
        )
    };
    let shop = Shop::start(&caller(&sidecar("['./other.example.com']")));
    let path = "/call/?url=http://api.example.com/price";
    let answer = shop.host.get(path);
    assert_eq!(answer.header("x-upstream-status"), "502", "{}", answer.body);
    let details = &shop.calls("/price", 1)[0]["response_code_details"];
    let details = details.as_str().expect("text");
    assert!(
        details.contains("the Sidecar test/call does not contain api.example.com:80"),
        "{details}"
    );
    shop.write(&caller(&sidecar("['./api.example.com']")));
    eventually("the guest reaches the server", || {
        (shop.host.get(path).header("x-upstream-status") == "200").then_some(())
    });
}

#[test]
fn declared_address_without_a_listener_gives_503() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let shop = Shop::start(&caller(&service_entry(address, "STATIC")));
    let answer = shop.host.get("/call/?url=http://api.example.com/price");
    assert_eq!(answer.header("x-upstream-status"), "503", "{}", answer.body);
    let call = &shop.calls("/price", 1)[0];
    assert!(flags(call).contains("UF"), "{call}");
}
