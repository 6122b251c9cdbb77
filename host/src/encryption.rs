//! Encryption of objects at rest, in the form of Kubernetes.
//!
//! `config.rs` reads Kubernetes' EncryptionConfiguration. For each resource it has an ordered
//! list of keys: the first one encrypts, and all of them decrypt, so that keys can be
//! rotated. A stored value begins with a prefix that names its provider and key, and the
//! bytes after it are those that Kubernetes stores in etcd (`provider.rs`, `kms.rs`).
//! `secret_file.rs` does the same to the values of a Secret in a manifest.
//!
//! Nothing here stores anything. No message has a key or a value.

mod config;
mod kms;
mod provider;
mod secret_file;
#[cfg(test)]
mod tests;

pub(crate) use config::ConfigError;
pub(crate) use secret_file::{decrypted, encrypted};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use galleria_manifest::kind;
use galleria_manifest::model::ObjectKey;

use crate::settings::encryption::EncryptionSettings;
use provider::Provider;

/// How every encrypted value begins.
const PREFIX: &str = "k8s:enc:";

/// What the operator of a host that others can reach should know.
pub(crate) const NOT_ENCRYPTED: &str = "Secrets from the API are stored in plain text in the \
    data folder; encrypt them with --encryption-provider-config";

/// The keys of a configuration; none by default.
#[derive(Default)]
pub(crate) struct Encryption {
    rules: Vec<Rule>,
}

/// One entry of `resources`.
struct Rule {
    resources: Vec<String>,
    /// The first one encrypts.
    providers: Vec<Provider>,
}

/// What a value belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    group: String,
    /// As in paths: `secrets`.
    resource: String,
    /// Authenticated together with the value by the providers that can: the object's key in
    /// Kubernetes' etcd. A value that is moved to another object does not decrypt.
    context: String,
}

/// A value that was decrypted.
pub(crate) struct Decrypted {
    pub value: Vec<u8>,
    /// Whether it would be stored in another way now: with another key, or in plain text.
    pub is_stale: bool,
}

/// A value cannot be encrypted, for example because the system has no random numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be encrypted: the system has no random numbers, or it is too long")]
pub(crate) struct EncryptError;

/// Why a value cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecryptError {
    #[error(
        "it is encrypted by the provider {provider} with the key `{key}`, which \
         --encryption-provider-config does not have for this resource; add the key"
    )]
    NoKey { provider: String, key: String },
    #[error(
        "the provider {provider} cannot decrypt it with the key `{key}`: the key is another one \
         of this name, or the value was changed or belongs to another object"
    )]
    Failed { provider: String, key: String },
    #[error("the KMS plugin `{key}` cannot decrypt it: {why}")]
    Plugin { key: String, why: String },
    #[error(
        "it is in plain text, which --encryption-provider-config does not accept; add \
         `identity: {{}}` as the last provider until it is encrypted"
    )]
    PlainText,
}

impl Subject {
    pub(crate) fn of(key: &ObjectKey) -> Self {
        let row = kind::served().find(|row| row.group == key.group && row.kind == key.kind);
        let resource = row.map_or_else(|| key.kind.to_lowercase(), |row| row.plural.to_owned());
        let names = match key.namespace.as_str() {
            "" => key.name.clone(),
            namespace => format!("{namespace}/{}", key.name),
        };
        let place = match key.group.as_str() {
            "" => resource.clone(),
            group => format!("{group}/{resource}"),
        };
        Self {
            group: key.group.clone(),
            resource,
            context: format!("/registry/{place}/{names}"),
        }
    }

    /// One value of this object.
    fn value(&self, key: &str) -> Self {
        Self {
            context: format!("{}/{key}", self.context),
            ..self.clone()
        }
    }
}

impl Encryption {
    /// Reads the configuration and contacts its KMS plugins. Blocks the thread.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub(crate) fn open(settings: &EncryptionSettings) -> Result<Self, ConfigError> {
        match settings.config() {
            None => Ok(Self::default()),
            Some(file) => config::read(file),
        }
    }

    /// Whether Secrets are stored in another form than plain text.
    pub(crate) fn protects_secrets(&self) -> bool {
        let writer = self.providers("", "secrets").and_then(|it| it.first());
        writer.is_some_and(|provider| !provider.is_identity())
    }

    /// The form in which `value` is stored.
    ///
    /// # Errors
    /// See [`EncryptError`].
    pub(crate) fn encrypt(&self, subject: &Subject, value: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let providers = self.providers(&subject.group, &subject.resource);
        match providers.and_then(|it| it.first()) {
            None => Ok(value.to_vec()),
            Some(provider) => provider.encrypt(value, subject.context.as_bytes()),
        }
    }

    /// The value that is stored as `stored`.
    ///
    /// # Errors
    /// See [`DecryptError`].
    pub(crate) fn decrypt(
        &self,
        subject: &Subject,
        stored: &[u8],
    ) -> Result<Decrypted, DecryptError> {
        let providers = self.providers(&subject.group, &subject.resource);
        let providers = providers.unwrap_or_default();
        if !stored.starts_with(PREFIX.as_bytes()) {
            let plain = providers.iter().position(Provider::is_identity);
            return match (plain, providers.is_empty()) {
                (None, false) => Err(DecryptError::PlainText),
                (place, _) => Ok(Decrypted {
                    value: stored.to_vec(),
                    is_stale: place.is_some_and(|place| place > 0),
                }),
            };
        }
        let (name, key) = header(stored);
        let mut failure = DecryptError::NoKey {
            provider: name.to_owned(),
            key: key.to_owned(),
        };
        for (place, provider) in providers.iter().enumerate() {
            match provider.decrypt(stored, subject.context.as_bytes()) {
                None => {}
                Some(Ok(opened)) => {
                    return Ok(Decrypted {
                        value: opened.value,
                        is_stale: opened.is_stale || place > 0,
                    });
                }
                Some(Err(error)) => failure = error,
            }
        }
        Err(failure)
    }

    /// The providers of the first rule for a resource.
    fn providers(&self, group: &str, resource: &str) -> Option<&[Provider]> {
        let rule = self.rules.iter().find(|rule| rule.has(group, resource))?;
        Some(&rule.providers)
    }
}

impl Rule {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*` for all.
    fn has(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|pattern| {
            let (name, of) = pattern.split_once('.').unwrap_or((pattern, ""));
            (name == resource || name == "*" && pattern.contains('.'))
                && (of == group || of == "*" && name == "*")
        })
    }
}

/// A stored value as text, for a store that keeps text: what follows the prefix is base64.
pub(crate) fn to_text(stored: &[u8]) -> String {
    let (prefix, rest) = stored.split_at(prefix_len(stored));
    match prefix.is_empty() {
        true => String::from_utf8_lossy(stored).into_owned(),
        false => String::from_utf8_lossy(prefix).into_owned() + &BASE64_STANDARD.encode(rest),
    }
}

/// The stored value of a text from [`to_text`].
pub(crate) fn from_text(text: &str) -> Vec<u8> {
    let (prefix, rest) = text.split_at(prefix_len(text.as_bytes()));
    match (prefix.is_empty(), BASE64_STANDARD.decode(rest)) {
        (false, Ok(bytes)) => [prefix.as_bytes(), &bytes].concat(),
        _ => text.as_bytes().to_vec(),
    }
}

/// The length of `k8s:enc:PROVIDER:VERSION:KEY:`; 0 without it.
fn prefix_len(stored: &[u8]) -> usize {
    if !is_encrypted(stored) {
        return 0;
    }
    let colons = stored.iter().enumerate().filter(|(_, byte)| **byte == b':');
    colons.map(|(at, _)| at + 1).nth(4).unwrap_or(0)
}

/// Whether `stored` is encrypted by any provider.
pub(crate) fn is_encrypted(stored: &[u8]) -> bool {
    stored.starts_with(PREFIX.as_bytes())
}

/// The provider and the name of the key in `k8s:enc:PROVIDER:VERSION:KEY:…`.
fn header(stored: &[u8]) -> (&str, &str) {
    let mut parts = stored.splitn(6, |byte| *byte == b':').skip(2);
    let mut next = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or("?");
    let provider = next();
    let _version = next();
    (provider, next())
}
