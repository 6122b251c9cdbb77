//! Secrets in manifest files: the values of `data` are encrypted one by one, and each is the
//! base64 of what [`Encryption::encrypt`] returns.
//!
//! A value is authenticated together with its Secret and its key where the provider can, so
//! that it cannot be moved. Other fields, and the values of other kinds, are not touched.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use galleria_manifest::model::{Object, Resource, SecretValue};
use galleria_manifest::{Diagnostic, Severity, codes};
use serde_json::Value;

use super::{DecryptError, EncryptError, Encryption, Subject, is_encrypted};

/// A value of a Secret that cannot be decrypted or encrypted.
#[derive(Debug, thiserror::Error)]
#[error("Secret/{name}: data.{key}: {problem}")]
pub(crate) struct SecretValueError {
    name: String,
    key: String,
    problem: ValueProblem,
}

#[derive(Debug, thiserror::Error)]
enum ValueProblem {
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
}

/// The manifest of a Secret with all of its values encrypted by the first key. Values that
/// are encrypted already are encrypted again, if with another key.
///
/// # Errors
/// See [`SecretValueError`].
pub(crate) fn encrypted(
    encryption: &Encryption,
    object: &Object,
) -> Result<Value, SecretValueError> {
    change(object, |subject, stored| {
        let value = decrypt_value(encryption, subject, stored)?;
        Ok(encryption.encrypt(subject, &value)?)
    })
}

/// The manifest of a Secret with all of its values decrypted.
///
/// # Errors
/// See [`SecretValueError`].
pub(crate) fn decrypted(
    encryption: &Encryption,
    object: &Object,
) -> Result<Value, SecretValueError> {
    change(object, |subject, stored| {
        Ok(decrypt_value(encryption, subject, stored)?)
    })
}

/// `object` with each value of `data` and `stringData` replaced, in `data`.
fn change(
    object: &Object,
    replace: impl Fn(&Subject, &[u8]) -> Result<Vec<u8>, ValueProblem>,
) -> Result<Value, SecretValueError> {
    let mut raw = object.raw.clone();
    let Resource::Secret(secret) = &object.resource else {
        return Ok(raw);
    };
    let subject = Subject::of(&object.key());
    let mut data = serde_json::Map::new();
    for (key, value) in &secret.data {
        let replaced = replace(&subject.value(key), value.expose());
        let replaced = replaced.map_err(|problem| SecretValueError {
            name: object.metadata.name.value.clone(),
            key: key.clone(),
            problem,
        })?;
        data.insert(key.clone(), BASE64_STANDARD.encode(replaced).into());
    }
    if let Value::Object(fields) = &mut raw {
        fields.remove("stringData");
        fields.insert("data".to_owned(), Value::Object(data));
    }
    Ok(raw)
}

/// A value as it is in a manifest, which need not be encrypted.
fn decrypt_value(
    encryption: &Encryption,
    subject: &Subject,
    stored: &[u8],
) -> Result<Vec<u8>, DecryptError> {
    match is_encrypted(stored) {
        false => Ok(stored.to_vec()),
        true => Ok(encryption.decrypt(subject, stored)?.value),
    }
}

impl Encryption {
    /// Decrypts the values of Secrets in place.
    ///
    /// Returns an error for each Secret with a value that cannot be decrypted.
    pub(crate) fn decrypt_secrets(&self, objects: &mut [Arc<Object>]) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        for object in objects {
            match self.decrypt_secret(object) {
                Ok(None) => {}
                Ok(Some(secret)) => *object = Arc::new(secret),
                Err(error) => problems.push(Diagnostic {
                    at: object.at.clone(),
                    severity: Severity::Error,
                    object: Some(format!("{}/{}", object.kind, object.metadata.name)),
                    path: format!("data.{}", error.key),
                    message: error.problem.to_string(),
                    code: codes::ENCRYPTED_VALUE,
                    unenforced: None,
                }),
            }
        }
        problems
    }

    /// `None` if no value is encrypted.
    fn decrypt_secret(&self, object: &Object) -> Result<Option<Object>, SecretValueError> {
        let Resource::Secret(secret) = &object.resource else {
            return Ok(None);
        };
        if !secret.data.values().any(|it| is_encrypted(it.expose())) {
            return Ok(None);
        }
        let subject = Subject::of(&object.key());
        let mut read = object.clone();
        for (key, value) in &secret.data {
            let opened = decrypt_value(self, &subject.value(key), value.expose());
            let opened = opened.map_err(|error| SecretValueError {
                name: object.metadata.name.value.clone(),
                key: key.clone(),
                problem: error.into(),
            })?;
            let data = read.raw.get_mut("data");
            if let Some(written) = data.and_then(|data| data.get_mut(key)) {
                *written = BASE64_STANDARD.encode(&opened).into();
            }
            if let Resource::Secret(secret) = &mut read.resource {
                secret.data.insert(key.clone(), SecretValue::new(opened));
            }
        }
        Ok(Some(read))
    }
}
