//! Components from a registry.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{LAYER, Web, component, files};
use crate::support::{Collector, PASSWORD, Registry, USER, eventually};

/// A pull secret `registry` with this login.
fn secret(registry: &Registry, password: &str) -> String {
    let host = &registry.host;
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: registry, namespace: test}}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{{\"auths\": {{\"{host}\": {{\"username\": \"{USER}\", \"password\": \"{password}\"}}}}}}'
"
    )
}

fn with_login(registry: &Registry) -> Web {
    Web::new()
        .with(&secret(registry, PASSWORD))
        .pod("imagePullSecrets: [{name: registry}]")
}

#[test]
fn component_is_pulled_once_and_used_while_the_registry_is_down() {
    let registry = Registry::start();
    let old_type = "application/vnd.wasm.content.layer.v1+wasm";
    let (digest, _) = registry.push("shop/hello:v1", component("hello"), old_type);
    let web = with_login(&registry);
    let image = format!("{}/shop/hello:v1", registry.host);

    let mut host = web.galleria(&image).start();
    assert_eq!(host.get("/web/").body, "hello\n");
    let log = host.stderr();
    assert!(log.contains("pulled") && log.contains(&digest), "{log}");
    assert!(!log.contains(PASSWORD) && !host.stdout().contains(PASSWORD));
    host.terminate();
    host.wait();

    drop(registry);
    let host = web.start_written().start();
    assert_eq!(host.get("/web/").body, "hello\n");
    assert!(!host.stderr().contains("pulled"), "{}", host.stderr());
}

#[test]
fn pull_leaves_a_span_below_the_plan_that_needs_it() {
    let registry = Registry::start();
    let bytes = component("hello");
    let size = bytes.len().to_string();
    let (digest, _) = registry.push("shop/hello:v1", bytes, LAYER);
    let web = with_login(&registry);
    let image = format!("{}/shop/hello:v1", registry.host);
    let collector = Collector::grpc();
    let span = |name: &str, failed: bool| {
        eventually(&format!("a span `{name}` is exported"), || {
            let mut spans = collector.spans().into_iter();
            spans.find(|it| it.name == name && it.failed == failed)
        })
    };

    let _host = web.galleria(&image).exporting_to(&collector).start();
    let pull = span("pull image", false);
    let expected = [
        ("container.image.name", &image),
        ("galleria.result", &"pulled".to_owned()),
        ("oci.manifest.digest", &digest),
        ("galleria.bytes", &size),
    ];
    for (name, value) in expected {
        assert_eq!(pull.attributes[name], *value, "{name}");
    }
    assert_eq!(span("plan", false).id, pull.parent);

    let absent = with_login(&registry);
    let image = format!("{}/shop/absent:v1", registry.host);
    absent.galleria(&image).exporting_to(&collector).fail();
    let pull = span("pull image", true);
    assert_eq!(pull.attributes["error.type"], "ErrImagePull");
    assert!(pull.message.contains("does not have the image"), "{pull:?}");
    let start = span("start", true);
    assert_eq!(
        (start.trace, start.id),
        (pull.trace, span("plan", true).parent)
    );
    assert!(!format!("{:?}", collector.spans()).contains(PASSWORD));
}

#[test]
fn pull_secrets_of_the_service_account_are_tried_after_those_of_the_pod() {
    let registry = Registry::start();
    registry.push("shop/hello:v1", component("hello"), LAYER);
    let wrong = secret(&registry, "wrong").replace("name: registry", "name: wrong");
    let web = with_login(&registry).with(&wrong).with(
        "apiVersion: v1
kind: ServiceAccount
metadata: {name: puller, namespace: test}
imagePullSecrets: [{name: registry}]
",
    );
    let image = format!("{}/shop/hello:v1", registry.host);
    web.write(&image, "");
    let yaml = std::fs::read_to_string(web.file()).expect("the file");
    let own = "imagePullSecrets: [{name: registry}]\n      containers";
    let both =
        "serviceAccountName: puller\n      imagePullSecrets: [{name: wrong}]\n      containers";
    assert!(yaml.contains(own), "{yaml}");
    std::fs::write(web.file(), yaml.replace(own, both)).expect("a file");
    let host = web.start_written().start();
    assert_eq!(host.get("/web/").body, "hello\n");
}

#[test]
fn message_about_a_wrong_login_says_what_to_do() {
    let registry = Registry::start();
    registry.push("shop/hello:v1", component("hello"), LAYER);
    let image = format!("{}/shop/hello:v1", registry.host);
    let stranger = Web::new();
    let wrong = Web::new()
        .with(&secret(&registry, "a wrong word"))
        .pod("imagePullSecrets: [{name: registry}]");
    for (web, who) in [(stranger, "anonymous users"), (wrong, "`ann`")] {
        let output = web.galleria(&image).fail();
        assert_eq!(output.code, Some(1));
        let expected = format!(
            "image `{image}` cannot be pulled: ErrImagePull: the registry `{}` denies {who} access to the image; name a Secret of type kubernetes.io/dockerconfigjson",
            registry.host
        );
        assert!(output.stderr.contains(&expected), "{}", output.stderr);
        assert!(
            output.stderr.contains("containers[0].image"),
            "{}",
            output.stderr
        );
        assert!(!output.stderr.contains("a wrong word"), "{}", output.stderr);
    }
}

#[test]
fn missing_images_and_images_without_a_component_are_reported() {
    let registry = Registry::start();
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    registry.push("shop/native:v1", b"a tar".to_vec(), tar);
    let web = with_login(&registry);
    for (image, said) in [
        (
            "shop/absent:v1",
            "does not have the image; check the name and the tag",
        ),
        (
            "shop/native:v2",
            "does not have the image; check the name and the tag",
        ),
        (
            "shop/native:v1",
            "it is a container image, not a WebAssembly component",
        ),
    ] {
        let output = web.galleria(&format!("{}/{image}", registry.host)).fail();
        assert!(output.stderr.contains("ErrImagePull"), "{}", output.stderr);
        assert!(output.stderr.contains(said), "{image}: {}", output.stderr);
    }
}

#[test]
fn pinned_digest_is_respected_and_altered_content_is_refused() {
    let registry = Registry::start();
    let (digest, layer) = registry.push("shop/hello:v1", component("hello"), LAYER);
    registry.push("shop/hello:v1", component("status"), LAYER);
    let web = with_login(&registry);
    let pinned = format!("{}/shop/hello:v1@{digest}", registry.host);
    let mut host = web.galleria(&pinned).start();
    assert_eq!(
        host.get("/web/").body,
        "hello\n",
        "the pinned component, not the tag's current one"
    );
    host.terminate();
    host.wait();

    std::fs::write(registry.blob(&layer), component("status")).expect("the blob");
    let fresh = with_login(&registry);
    let output = fresh.galleria(&pinned).fail();
    let said = format!("the content does not match {layer}; it was altered or truncated");
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    let kept = fresh.data().join("images/blobs/sha256");
    assert_eq!(files(&kept), 0, "nothing of it was kept");
}

#[test]
fn pull_policy_decides_when_the_registry_is_contacted() {
    let registry = Registry::start();
    registry.push("shop/app:v1", component("hello"), LAYER);
    let image = format!("{}/shop/app:v1", registry.host);
    let web = with_login(&registry);

    web.write(&image, "imagePullPolicy: Never");
    let output = web.start_written().fail();
    assert!(
        output.stderr.contains("ErrImageNeverPull"),
        "{}",
        output.stderr
    );

    web.write(&image, "imagePullPolicy: IfNotPresent");
    let host = web.start_written().start();
    assert_eq!(host.get("/web/ok").body, "hello\n");
    registry.push("shop/app:v1", component("trap"), LAYER);
    web.write(&image, "workingDir: /");
    eventually("the changed manifest is in effect", || {
        let labels = ["result=\"accepted\""];
        (host.metric("galleria_configuration_reloads_total", &labels) >= 1.0).then_some(())
    });
    assert_eq!(
        host.get("/web/ok").body,
        "hello\n",
        "the image that was pulled before is used"
    );

    web.write(&image, "imagePullPolicy: Always");
    eventually("the tag's new component serves", || {
        (host.get("/web/ok").body == "ok\n").then_some(())
    });
    let blobs = web.data().join("images/blobs/sha256");
    eventually("unused images are removed", || {
        (files(&blobs) == 2).then_some(())
    });

    drop(registry);
    web.write(&image, "imagePullPolicy: Always\n          workingDir: /");
    eventually(
        "the previously pulled image is used without the registry",
        || {
            host.stderr()
                .contains("using the previously pulled image")
                .then_some(())
        },
    );
    assert_eq!(host.get("/web/ok").body, "ok\n");
}

#[test]
fn change_waits_for_an_image_that_is_not_available_yet() {
    let registry = Registry::start();
    registry.push("shop/app:v1", component("hello"), LAYER);
    let web = with_login(&registry);
    let host = web
        .galleria(&format!("{}/shop/app:v1", registry.host))
        .argument("--restart-backoff-initial=100ms")
        .start();
    web.write(&format!("{}/shop/app:v2", registry.host), "");
    let event = |reason: &str| {
        let mut events = host.objects("Event").into_iter();
        events.find(|it| it["reason"] == reason && it["involvedObject"]["kind"] == "Deployment")
    };
    let backs_off = eventually("the pull is retried for the third time", || {
        event("BackOff").filter(|event| event["count"].as_u64() >= Some(3))
    });
    let said = backs_off["message"].as_str().expect("a message");
    assert!(said.starts_with("ImagePullBackOff: back-off"), "{said}");
    let failed = event("Failed").expect("the event");
    assert_eq!(failed["involvedObject"]["name"], "web");
    let said = failed["message"].as_str().expect("a message");
    assert!(said.contains("ErrImagePull"), "{said}");
    assert_eq!(
        host.get("/web/").body,
        "hello\n",
        "the previous configuration stays in effect"
    );
    assert!(host.status_page(&[]).stdout.contains("ErrImagePull"));

    registry.push("shop/app:v2", component("trap"), LAYER);
    eventually(
        "the change is applied without another change of the file",
        || (host.get("/web/ok").body == "ok\n").then_some(()),
    );
    let accepted = ["result=\"accepted\""];
    let accepted = host.metric("galleria_configuration_reloads_total", &accepted);
    assert!(accepted >= 1.0, "{accepted}");
}

#[test]
fn private_authority_of_a_registry_is_trusted_only_with_the_flag() {
    let registry = Registry::start_secure();
    registry.push("shop/hello:v1", component("hello"), LAYER);
    let web = with_login(&registry);
    let image = format!("{}/shop/hello:v1", registry.host);
    let output = web.galleria(&image).fail();
    let said =
        "cannot be reached; check its name, for a private certificate authority see --registry-ca";
    assert!(output.stderr.contains(said), "{}", output.stderr);

    let authority = format!("--registry-ca={}", registry.authority().display());
    let host = web.galleria(&image).argument(&authority).start();
    assert_eq!(host.get("/web/").body, "hello\n");

    let none = Web::new();
    let output = none
        .galleria(&image)
        .argument("--registry-ca=none.pem")
        .fail();
    assert!(
        output
            .stderr
            .contains("cannot read --registry-ca `none.pem`"),
        "{}",
        output.stderr
    );
}

#[test]
fn component_in_the_folder_takes_precedence_over_the_registry() {
    let web = Web::new();
    std::fs::write(web.components().join("hello.wasm"), component("hello")).expect("a file");
    // Nothing listens on port 1.
    let host = web.galleria("127.0.0.1:1/shop/hello:v1").start();
    assert_eq!(host.get("/web/").body, "hello\n");
}

#[test]
fn redirect_to_plain_http_is_not_followed() {
    let plain = Registry::start();
    plain.push("shop/hello:v1", component("hello"), LAYER);
    // Only used for its certificate.
    let secure = Registry::start_secure();
    let host = redirecting(&secure, &plain.host);
    let web = Web::new();
    let authority = format!("--registry-ca={}", secure.authority().display());
    let output = web
        .galleria(&format!("{host}/shop/hello:v1"))
        .argument(&authority)
        .fail();
    assert!(
        output.stderr.contains("or from HTTPS to HTTP"),
        "{}",
        output.stderr
    );
}

/// A TLS server that redirects every request to `http://target`.
fn redirecting(identity: &Registry, target: &str) -> String {
    let folder = identity.authority();
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem"));
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        );
    let config = Arc::new(config.expect("an identity"));
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address").to_string();
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/v2/shop/hello/manifests/v1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    std::thread::spawn(move || {
        for stream in socket.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            // Clients that do not speak TLS get no response.
            if stream.read(&mut head).is_ok() {
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}
