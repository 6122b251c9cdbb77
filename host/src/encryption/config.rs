//! Reads an EncryptionConfiguration of Kubernetes.
//!
//! It is Kubernetes' file with one addition: `secret: env:NAME` is a key whose base64 is in
//! the variable NAME of the process environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::kms::{Kms, KmsError};
use super::provider::{Algorithm, Key, Provider};
use super::{Encryption, Rule};
use crate::settings::encryption::EncryptionSettings;

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// A configuration is a page of text.
const BYTES_MAX: u64 = 1 << 20;

/// How long a call of a KMS plugin may take, unless the configuration says it.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a configuration cannot be used. No message has a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read --encryption-provider-config `{}`", file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("--encryption-provider-config `{}` is not valid: {why}", file.display())]
    Invalid { file: PathBuf, why: String },
    #[error("--encryption-provider-config `{}`: cannot use the KMS plugin `{name}`", file.display())]
    Kms {
        file: PathBuf,
        name: String,
        source: KmsError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: String,
    resources: Vec<ResourceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceEntry {
    resources: Vec<String>,
    providers: Vec<ProviderEntry>,
}

/// Exactly one of these is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderEntry {
    identity: Option<Empty>,
    aescbc: Option<KeysEntry>,
    aesgcm: Option<KeysEntry>,
    secretbox: Option<KeysEntry>,
    kms: Option<KmsEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysEntry {
    keys: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KmsEntry {
    #[serde(default)]
    api_version: String,
    name: String,
    endpoint: String,
    timeout: Option<String>,
    #[serde(rename = "cachesize")]
    _cache_size: Option<i64>,
}

/// Reads the file.
///
/// # Errors
/// See [`ConfigError`].
pub(super) fn read(file: &Path) -> Result<Encryption, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let invalid = |why: String| ConfigError::Invalid {
        file: file.to_owned(),
        why,
    };
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > BYTES_MAX {
        return Err(invalid(format!("it has more than {BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let document = parse(&text).map_err(invalid)?;
    let mut rules = Vec::new();
    for (at, entry) in document.resources.into_iter().enumerate() {
        let mut providers = Vec::new();
        for (nth, provider) in entry.providers.into_iter().enumerate() {
            let place = format!("resources[{at}].providers[{nth}]");
            let named = |why: String| invalid(format!("{place}: {why}"));
            match checked(provider).map_err(named)? {
                Checked::Ready(provider) => providers.push(provider),
                Checked::Kms(kms, timeout) => {
                    let opened = Kms::open(&kms.name, &kms.endpoint, timeout);
                    let opened = opened.map_err(|source| ConfigError::Kms {
                        file: file.to_owned(),
                        name: kms.name.clone(),
                        source,
                    })?;
                    providers.push(Provider::Kms(Box::new(opened)));
                }
            }
        }
        let resources = entry.resources;
        if providers.is_empty() || resources.is_empty() {
            let why = "needs at least one resource and one provider";
            return Err(invalid(format!("resources[{at}]: {why}")));
        }
        rules.push(Rule {
            resources,
            providers,
        });
    }
    Ok(Encryption { rules })
}

fn parse(text: &str) -> Result<Document, String> {
    // Messages of the deserializer may have a value, and all values here may be keys.
    let value = galleria_manifest::yaml_to_json(text)
        .map_err(|_| "it is not one document of YAML; its text is not shown, for it has keys")?;
    let document: Document =
        serde_json::from_value(value).map_err(|error| without_values(&error))?;
    if document.api_version != API_VERSION || document.kind != KIND {
        return Err(format!("it must be a {KIND} of {API_VERSION}"));
    }
    if document.resources.is_empty() {
        return Err("it has no `resources`".to_owned());
    }
    Ok(document)
}

/// The message of an error, unless it has a value of the document.
fn without_values(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.starts_with("missing field") || message.starts_with("unknown field") {
        true => message,
        false => "a value does not have the type of its field".to_owned(),
    }
}

enum Checked {
    Ready(Provider),
    Kms(KmsEntry, Duration),
}

fn checked(entry: ProviderEntry) -> Result<Checked, String> {
    let ProviderEntry {
        identity,
        aescbc,
        aesgcm,
        secretbox,
        kms,
    } = entry;
    let keys = [
        (Algorithm::AesCbc, aescbc),
        (Algorithm::AesGcm, aesgcm),
        (Algorithm::Secretbox, secretbox),
    ];
    let mut found = Vec::new();
    found.extend(identity.map(|Empty {}| Checked::Ready(Provider::Identity)));
    for (algorithm, entry) in keys {
        if let Some(entry) = entry {
            let keys = checked_keys(algorithm, entry)?;
            found.push(Checked::Ready(Provider::Local(algorithm, keys)));
        }
    }
    if let Some(kms) = kms {
        found.push(checked_kms(kms)?);
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err("needs exactly one of identity, aescbc, aesgcm, secretbox, kms".to_owned()),
    }
}

fn checked_keys(algorithm: Algorithm, entry: KeysEntry) -> Result<Vec<Key>, String> {
    let provider = algorithm.name();
    if entry.keys.is_empty() {
        return Err(format!("{provider} has no keys"));
    }
    let mut keys: Vec<Key> = Vec::new();
    for KeyEntry { name, secret } in entry.keys {
        check_name(&name).map_err(|why| format!("a key of {provider} {why}"))?;
        if keys.iter().any(|key| key.name == name) {
            return Err(format!("{provider} has two keys with the name `{name}`"));
        }
        let secret = secret_of(&secret).map_err(|why| format!("the key `{name}` {why}"))?;
        let lengths = algorithm.key_lengths();
        if !lengths.contains(&secret.len()) {
            let lengths: Vec<_> = lengths.iter().map(usize::to_string).collect();
            return Err(format!(
                "the key `{name}` of {provider} has {} bytes; it must have {}",
                secret.len(),
                lengths.join(" or ")
            ));
        }
        keys.push(Key { name, secret });
    }
    Ok(keys)
}

/// The bytes of `secret`, which is base64 or names a variable.
fn secret_of(secret: &str) -> Result<Vec<u8>, String> {
    let from_variable;
    let encoded = match secret.strip_prefix("env:") {
        None => secret,
        Some(name) => {
            let value = EncryptionSettings::key_variable(name);
            from_variable = value.ok_or_else(|| format!("needs the variable {name}"))?;
            &from_variable
        }
    };
    let decoded = BASE64_STANDARD.decode(encoded.trim());
    decoded.map_err(|_| "is not base64; `head -c 32 /dev/urandom | base64` makes one".to_owned())
}

fn checked_kms(kms: KmsEntry) -> Result<Checked, String> {
    check_name(&kms.name).map_err(|why| format!("the kms plugin {why}"))?;
    if kms.api_version != "v2" {
        return Err("only `apiVersion: v2` of kms is supported".to_owned());
    }
    if !kms.endpoint.starts_with("unix:///") {
        return Err("the endpoint of kms must be a socket, `unix:///…`".to_owned());
    }
    let timeout = match &kms.timeout {
        None => KMS_TIMEOUT,
        Some(text) => galleria_manifest::duration(text)
            .map_err(|why| format!("the timeout of kms is not valid: {why}"))?,
    };
    Ok(Checked::Kms(kms, timeout))
}

/// Names are part of the prefix, which ends at a colon.
fn check_name(name: &str) -> Result<(), &'static str> {
    match name.is_empty() || name.contains(':') {
        true => Err("needs a name, without colons"),
        false => Ok(()),
    }
}
