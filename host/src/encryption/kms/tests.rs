//! Envelopes of Kubernetes, and a plugin on a socket.

use std::convert::Infallible;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::{BoxFuture, FutureExt, Ready, ready};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::*;
use crate::encryption::tests::{VALUE, login};

/// From Python's `cryptography` 48.0.0: the seed 200, 201, …, the key 0, 1, ….
const WITH_SEED: &str = "azhzOmVuYzprbXM6djI6dmF1bHQ6CmAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHwABAgMEBQYHCAkKC2ZtO8yK6U7Q0AuJYPRlREMZJC4uWJYa2yu47dQFVdTxKfOL4Bcara46LbcEUj3mhzY56hoSBWtlay0xGgtzZWFsZWQtc2VlZCISCg1rbXMuZXhhbXBsZS92EgE3KAE=";
const WITH_KEY: &str = "azhzOmVuYzprbXM6djI6dmF1bHQ6CkAAAQIDBAUGBwgJCgs8ILJ6sYTgIfZj5+rCmg8C8bKlDtIaFypNA6LTZCRnjzwy04Ff0rbGCiqgVW5XjUXwyEK3EgVrZWstMRoKc2VhbGVkLWRlaw==";

/// A plugin that cannot be called, with what it would answer.
fn offline(key_id: &str) -> Kms {
    let seeds = [
        (b"sealed-seed".to_vec(), (200..232).collect()),
        (b"sealed-dek".to_vec(), (0..32).collect()),
    ];
    Kms {
        name: "vault".into(),
        plugin: Plugin {
            endpoint: "unix:///no/such/socket".into(),
            timeout: Duration::from_secs(1),
        },
        seed: vec![7; LEN],
        envelope: EncryptedObject {
            key_id: key_id.into(),
            encrypted_dek_source: b"own".to_vec(),
            encrypted_dek_source_type: SEED,
            ..EncryptedObject::default()
        },
        seeds: Mutex::new(HashMap::from(seeds)),
    }
}

#[test]
fn envelopes_of_kubernetes_are_decrypted() {
    let context = b"/registry/secrets/test/login";
    assert_eq!(login().context.as_bytes(), context);
    for stored in [WITH_SEED, WITH_KEY] {
        let stored = BASE64_STANDARD.decode(stored).expect("base64");
        for (key_id, is_stale) in [("kek-1", false), ("kek-2", true)] {
            let opened = offline(key_id).decrypt(&stored, context);
            let opened = opened.expect("it is this plugin's").expect("the key");
            assert_eq!(
                (opened.value.as_slice(), opened.is_stale),
                (VALUE, is_stale)
            );
        }
        let moved = offline("kek-1").decrypt(&stored, b"/registry/secrets/test/other");
        assert!(moved.expect("this plugin's").is_err());
    }
}

#[test]
fn a_value_is_read_again_and_an_unknown_seed_needs_the_plugin() {
    let kms = offline("kek-1");
    let stored = kms.encrypt(VALUE, b"a").expect("encrypted");
    let opened = kms.decrypt(&stored, b"a").expect("this plugin's");
    assert_eq!(opened.ok().map(|it| it.value).as_deref(), Some(VALUE));
    let mut other = offline("kek-1");
    other.envelope.encrypted_dek_source = b"of another run".to_vec();
    let error = other.decrypt(&stored, b"a").expect("this plugin's").err();
    let error = error.expect("the plugin cannot be reached").to_string();
    assert!(error.contains("KMS plugin `vault`"), "{error}");
    assert!(kms.decrypt(b"k8s:enc:kms:v2:other:", b"a").is_none());
    assert!(
        kms.decrypt(b"k8s:enc:kms:v2:vault:\xff", b"a")
            .is_some_and(|it| it.is_err())
    );
}

/// A plugin whose key reverses bytes.
#[derive(Clone)]
struct ReversingPlugin {
    key_id: &'static str,
}

impl NamedService for ReversingPlugin {
    const NAME: &'static str = "v2.KeyManagementService";
}

impl Service<http::Request<Body>> for ReversingPlugin {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let key_id = self.key_id.to_owned();
        let reversed = |mut bytes: Vec<u8>| {
            bytes.reverse();
            bytes
        };
        let path = request.uri().path().to_owned();
        let answer = match path.rsplit('/').next() {
            Some("Status") => answer(request, move |_: StatusRequest| StatusResponse {
                version: "v2".into(),
                healthz: "ok".into(),
                key_id: key_id.clone(),
            }),
            Some("Encrypt") => answer(request, move |asked: EncryptRequest| EncryptResponse {
                ciphertext: reversed(asked.plaintext),
                key_id: key_id.clone(),
                annotations: HashMap::from([("kms.example/v".to_owned(), b"1".to_vec())]),
            }),
            _ => answer(request, move |asked: DecryptRequest| {
                assert_eq!(asked.annotations.len(), 1);
                DecryptResponse {
                    plaintext: reversed(asked.ciphertext),
                }
            }),
        };
        answer.map(Ok).boxed()
    }
}

struct Method<F>(F);

impl<Q, A, F: FnMut(Q) -> A> Service<tonic::Request<Q>> for Method<F> {
    type Response = tonic::Response<A>;
    type Error = tonic::Status;
    type Future = Ready<Result<tonic::Response<A>, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        ready(Ok(tonic::Response::new((self.0)(request.into_inner()))))
    }
}

fn answer<Q, A>(
    request: http::Request<Body>,
    method: impl FnMut(Q) -> A + Send + 'static,
) -> BoxFuture<'static, http::Response<Body>>
where
    Q: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    async move {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default());
        grpc.unary(Method(method), request).await
    }
    .boxed()
}

/// Serves a plugin until the test ends; returns its endpoint.
fn serve(socket: &std::path::Path, key_id: &'static str) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = {
        let _entered = runtime.enter();
        tokio::net::UnixListener::bind(socket).expect("a socket")
    };
    let server = tonic::transport::Server::builder().add_service(ReversingPlugin { key_id });
    runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    std::mem::forget(runtime);
    format!("unix://{}", socket.display())
}

#[test]
fn a_plugin_encrypts_the_seed_of_each_run_and_decrypts_those_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let timeout = Duration::from_secs(10);
    let endpoint = serve(&folder.path().join("one.sock"), "kek-1");
    let first = Kms::open("vault", &endpoint, timeout).expect("the plugin answers");
    let stored = first.encrypt(VALUE, b"a").expect("encrypted");
    let renewed = serve(&folder.path().join("two.sock"), "kek-2");
    for (endpoint, is_stale) in [(endpoint, false), (renewed, true)] {
        let next = Kms::open("vault", &endpoint, timeout).expect("the plugin answers");
        let opened = next.decrypt(&stored, b"a").expect("this plugin's");
        let opened = opened.expect("the plugin has the key");
        assert_eq!(
            (opened.value.as_slice(), opened.is_stale),
            (VALUE, is_stale)
        );
    }
    let missing = Kms::open("vault", "unix:///no/such/socket", timeout);
    assert!(matches!(missing.err(), Some(KmsError::Unreachable(_))));
}
