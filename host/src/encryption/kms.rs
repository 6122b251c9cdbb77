//! The provider `kms`: a plugin on this machine keeps the key, and the host never sees it.
//!
//! The plugin speaks Kubernetes' KMS API, version 2, on a Unix socket. When the host starts,
//! it makes a seed and lets the plugin encrypt it. Each value is encrypted with a key of its
//! own that is derived from the seed, and is stored together with the encrypted seed, as in
//! Kubernetes. So writes need no plugin, and a read needs it once for each seed.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use tonic::transport::Endpoint;

use super::provider::{Opened, decrypt_gcm, encrypt_gcm, random};
use super::{DecryptError, EncryptError, PREFIX};

/// Of the seed, of the derived key, and of what it is derived with.
const LEN: usize = 32;

/// Seeds that are kept decrypted: one for each start of the host that wrote a value which
/// was not encrypted again since.
const SEEDS_MAX: usize = 1_000;

/// Why a plugin cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KmsError {
    #[error("its socket cannot be reached: {0}")]
    Unreachable(String),
    #[error("it answers {0}")]
    Refused(String),
    #[error("it is not healthy: {0}")]
    Unhealthy(String),
    #[error("it speaks version `{0}` of the API; the host needs v2")]
    Version(String),
    #[error("the host cannot call it: {0}")]
    Local(String),
}

/// A plugin, and the seed of this run.
pub(super) struct Kms {
    name: String,
    plugin: Plugin,
    seed: Vec<u8>,
    /// What the plugin made of the seed, as every value has it.
    envelope: EncryptedObject,
    /// Other seeds, by what the plugin made of them.
    seeds: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

struct Plugin {
    endpoint: String,
    timeout: Duration,
}

/// What is stored after the prefix.
#[derive(Clone, PartialEq, Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    encrypted_dek_source: Vec<u8>,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
    /// [`DEK`] or [`SEED`].
    #[prost(int32, tag = "5")]
    encrypted_dek_source_type: i32,
}

/// The source is the key of AES-GCM itself.
const DEK: i32 = 0;
/// The source is a seed, from which HKDF derives the key.
const SEED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "3")]
    annotations: HashMap<String, Vec<u8>>,
}

impl Kms {
    /// Asks the plugin for its status, and lets it encrypt a new seed.
    ///
    /// # Errors
    /// See [`KmsError`].
    pub(super) fn open(name: &str, endpoint: &str, timeout: Duration) -> Result<Self, KmsError> {
        let plugin = Plugin {
            endpoint: endpoint.to_owned(),
            timeout,
        };
        let status: StatusResponse = plugin.call("Status", StatusRequest {})?;
        if !status.version.starts_with("v2") {
            return Err(KmsError::Version(status.version));
        }
        if status.healthz != "ok" {
            return Err(KmsError::Unhealthy(status.healthz));
        }
        let seed: [u8; LEN] = random().map_err(|error| KmsError::Local(error.to_string()))?;
        let request = EncryptRequest {
            plaintext: seed.to_vec(),
            uid: uuid::Uuid::new_v4().to_string(),
        };
        let encrypted: EncryptResponse = plugin.call("Encrypt", request)?;
        Ok(Self {
            name: name.to_owned(),
            plugin,
            seed: seed.to_vec(),
            envelope: EncryptedObject {
                encrypted_data: Vec::new(),
                key_id: encrypted.key_id,
                encrypted_dek_source: encrypted.ciphertext,
                annotations: encrypted.annotations,
                encrypted_dek_source_type: SEED,
            },
            seeds: Mutex::default(),
        })
    }

    pub(super) fn encrypt(&self, value: &[u8], context: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let info: [u8; LEN] = random()?;
        let key = derive(&self.seed, &info).ok_or(EncryptError)?;
        let sealed = encrypt_gcm(&key, random()?, value, context)?;
        let object = EncryptedObject {
            encrypted_data: [&info[..], &sealed].concat(),
            ..self.envelope.clone()
        };
        let mut stored = self.prefix().into_bytes();
        stored.extend(object.encode_to_vec());
        Ok(stored)
    }

    /// `None` if the value is not this plugin's.
    pub(super) fn decrypt(
        &self,
        stored: &[u8],
        context: &[u8],
    ) -> Option<Result<Opened, DecryptError>> {
        let rest = stored.strip_prefix(self.prefix().as_bytes())?;
        let failed = || DecryptError::Failed {
            provider: "kms".to_owned(),
            key: self.name.clone(),
        };
        let Ok(object) = EncryptedObject::decode(rest) else {
            return Some(Err(failed()));
        };
        let source = match self.source(&object) {
            Ok(source) => source,
            Err(error) => {
                return Some(Err(DecryptError::Plugin {
                    key: self.name.clone(),
                    why: error.to_string(),
                }));
            }
        };
        let data = &object.encrypted_data;
        let value = match object.encrypted_dek_source_type {
            DEK => decrypt_gcm(&source, data, context),
            SEED => data.split_first_chunk::<LEN>().and_then(|(info, rest)| {
                let key = derive(&source, info)?;
                decrypt_gcm(&key, rest, context)
            }),
            _ => None,
        };
        let is_stale = object.key_id != self.envelope.key_id;
        Some(
            value
                .map(|value| Opened { value, is_stale })
                .ok_or_else(failed),
        )
    }

    fn prefix(&self) -> String {
        format!("{PREFIX}kms:v2:{}:", self.name)
    }

    /// The key or the seed of a value; calls the plugin for one that is not known yet.
    fn source(&self, object: &EncryptedObject) -> Result<Vec<u8>, KmsError> {
        let encrypted = &object.encrypted_dek_source;
        if *encrypted == self.envelope.encrypted_dek_source {
            return Ok(self.seed.clone());
        }
        if let Some(known) = self.seeds.lock().get(encrypted) {
            return Ok(known.clone());
        }
        let request = DecryptRequest {
            ciphertext: encrypted.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let answer: DecryptResponse = self.plugin.call("Decrypt", request)?;
        let mut seeds = self.seeds.lock();
        if seeds.len() < SEEDS_MAX {
            seeds.insert(encrypted.clone(), answer.plaintext.clone());
        }
        Ok(answer.plaintext)
    }
}

/// HKDF-Expand with SHA-256.
fn derive(seed: &[u8], info: &[u8]) -> Option<[u8; LEN]> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            LEN
        }
    }
    let mut key = [0; LEN];
    let seed = Prk::new_less_safe(HKDF_SHA256, seed);
    let info = [info];
    let derived = seed.expand(&info, Length).ok()?;
    derived.fill(&mut key).ok()?;
    Some(key)
}

impl Plugin {
    /// Calls a method on a thread of its own, since callers may be on a thread of a runtime.
    fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, KmsError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (endpoint, timeout) = (self.endpoint.clone(), self.timeout);
        let call = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| KmsError::Local(error.to_string()))?;
            let call = call_once(&endpoint, method, request);
            runtime.block_on(async {
                let answered = tokio::time::timeout(timeout, call).await;
                answered.unwrap_or_else(|_| Err(KmsError::Unreachable("timeout".to_owned())))
            })
        };
        let thread = std::thread::Builder::new().name("kms".into()).spawn(call);
        let thread = thread.map_err(|error| KmsError::Local(error.to_string()))?;
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(KmsError::Local("the call panicked".to_owned())))
    }
}

async fn call_once<Q, A>(endpoint: &str, method: &str, request: Q) -> Result<A, KmsError>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let unreachable =
        |error: tonic::transport::Error| KmsError::Unreachable(crate::causes::with_causes(&error));
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(unreachable)?;
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(unreachable)?;
    let path = format!("/v2.KeyManagementService/{method}");
    let path = path
        .parse()
        .map_err(|error: http::uri::InvalidUri| KmsError::Local(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::default();
    let answer = client.unary(tonic::Request::new(request), path, codec);
    let answer = answer.await.map_err(|status| {
        KmsError::Refused(format!("{:?}: {}", status.code(), status.message()))
    })?;
    Ok(answer.into_inner())
}
