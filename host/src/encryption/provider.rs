//! The providers: what follows the prefix of a stored value.
//!
//! | provider | after the prefix | authenticated |
//! | --- | --- | --- |
//! | `aescbc` | IV, blocks with PKCS #7 padding | no |
//! | `aesgcm` | nonce, ciphertext, tag | value and object |
//! | `secretbox` | nonce, tag, ciphertext | value |
//! | `kms` (v2) | a message with the encrypted data key | value and object |

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::kms::Kms;
use super::{DecryptError, EncryptError, PREFIX};

/// One block of AES.
const IV_LEN: usize = 16;
const SECRETBOX_NONCE_LEN: usize = 24;

/// One entry of `providers`.
pub(super) enum Provider {
    Identity,
    /// `aescbc`, `aesgcm`, `secretbox`: the first key encrypts.
    Local(Algorithm, Vec<Key>),
    Kms(Box<Kms>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    AesCbc,
    AesGcm,
    Secretbox,
}

pub(super) struct Key {
    pub(super) name: String,
    /// Of a length that the algorithm accepts.
    pub(super) secret: Vec<u8>,
}

/// A value, and whether another key than the first one decrypted it.
pub(super) struct Opened {
    pub(super) value: Vec<u8>,
    pub(super) is_stale: bool,
}

impl Provider {
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    pub(super) fn encrypt(&self, value: &[u8], context: &[u8]) -> Result<Vec<u8>, EncryptError> {
        match self {
            Self::Identity => Ok(value.to_vec()),
            Self::Kms(kms) => kms.encrypt(value, context),
            Self::Local(algorithm, keys) => {
                let key = keys.first().ok_or(EncryptError)?;
                let mut stored = algorithm.prefix(&key.name).into_bytes();
                stored.extend(algorithm.encrypt(&key.secret, value, context)?);
                Ok(stored)
            }
        }
    }

    /// `None` if the value is not this provider's.
    pub(super) fn decrypt(
        &self,
        stored: &[u8],
        context: &[u8],
    ) -> Option<Result<Opened, DecryptError>> {
        match self {
            Self::Identity => None,
            Self::Kms(kms) => kms.decrypt(stored, context),
            Self::Local(algorithm, keys) => {
                let mut found = None;
                for (place, key) in keys.iter().enumerate() {
                    let prefix = algorithm.prefix(&key.name);
                    let Some(rest) = stored.strip_prefix(prefix.as_bytes()) else {
                        continue;
                    };
                    if let Some(value) = algorithm.decrypt(&key.secret, rest, context) {
                        let is_stale = place > 0;
                        return Some(Ok(Opened { value, is_stale }));
                    }
                    found = Some(Err(DecryptError::Failed {
                        provider: algorithm.name().to_owned(),
                        key: key.name.clone(),
                    }));
                }
                found
            }
        }
    }
}

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    /// The lengths of a key, in bytes.
    pub(super) fn key_lengths(self) -> &'static [usize] {
        match self {
            Self::AesCbc => &[16, 24, 32],
            Self::AesGcm => &[16, 32],
            Self::Secretbox => &[32],
        }
    }

    fn prefix(self, key: &str) -> String {
        format!("{PREFIX}{}:v1:{key}:", self.name())
    }

    fn encrypt(self, key: &[u8], value: &[u8], context: &[u8]) -> Result<Vec<u8>, EncryptError> {
        match self {
            Self::AesCbc => encrypt_cbc(key, random()?, value),
            Self::AesGcm => encrypt_gcm(key, random()?, value, context),
            Self::Secretbox => encrypt_secretbox(key, random()?, value),
        }
    }

    fn decrypt(self, key: &[u8], rest: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::AesCbc => decrypt_cbc(key, rest),
            Self::AesGcm => decrypt_gcm(key, rest, context),
            Self::Secretbox => decrypt_secretbox(key, rest),
        }
    }
}

pub(super) fn random<const LEN: usize>() -> Result<[u8; LEN], EncryptError> {
    let mut bytes = [0; LEN];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| EncryptError)?;
    Ok(bytes)
}

fn encrypt_cbc(key: &[u8], iv: [u8; IV_LEN], value: &[u8]) -> Result<Vec<u8>, EncryptError> {
    fn run<C: KeyIvInit + BlockEncryptMut>(key: &[u8], iv: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let cipher = C::new_from_slices(key, iv).ok()?;
        Some(cipher.encrypt_padded_vec_mut::<Pkcs7>(value))
    }
    let encrypted = match key.len() {
        16 => run::<cbc::Encryptor<Aes128>>(key, &iv, value),
        24 => run::<cbc::Encryptor<Aes192>>(key, &iv, value),
        _ => run::<cbc::Encryptor<Aes256>>(key, &iv, value),
    };
    let encrypted = encrypted.ok_or(EncryptError)?;
    Ok([&iv[..], &encrypted].concat())
}

fn decrypt_cbc(key: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    fn run<C: KeyIvInit + BlockDecryptMut>(key: &[u8], iv: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
        let cipher = C::new_from_slices(key, iv).ok()?;
        cipher.decrypt_padded_vec_mut::<Pkcs7>(rest).ok()
    }
    let (iv, rest) = rest.split_at_checked(IV_LEN)?;
    match key.len() {
        16 => run::<cbc::Decryptor<Aes128>>(key, iv, rest),
        24 => run::<cbc::Decryptor<Aes192>>(key, iv, rest),
        _ => run::<cbc::Decryptor<Aes256>>(key, iv, rest),
    }
}

fn gcm(key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        _ => &AES_256_GCM,
    };
    Some(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?))
}

/// A nonce, and what AES-GCM makes of `value`, authenticated together with `context`.
pub(super) fn encrypt_gcm(
    key: &[u8],
    nonce: [u8; NONCE_LEN],
    value: &[u8],
    context: &[u8],
) -> Result<Vec<u8>, EncryptError> {
    let key = gcm(key).ok_or(EncryptError)?;
    let mut sealed = value.to_vec();
    let given = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(given, Aad::from(context), &mut sealed)
        .map_err(|_| EncryptError)?;
    Ok([&nonce[..], &sealed].concat())
}

pub(super) fn decrypt_gcm(key: &[u8], rest: &[u8], context: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let mut opened = rest.to_vec();
    let value = gcm(key)?.open_in_place(nonce, Aad::from(context), &mut opened);
    let len = value.ok()?.len();
    opened.truncate(len);
    Some(opened)
}

fn encrypt_secretbox(
    key: &[u8],
    nonce: [u8; SECRETBOX_NONCE_LEN],
    value: &[u8],
) -> Result<Vec<u8>, EncryptError> {
    let cipher = XSalsa20Poly1305::new_from_slice(key).ok();
    let sealed = cipher.and_then(|cipher| cipher.encrypt(&nonce.into(), value).ok());
    let sealed = sealed.ok_or(EncryptError)?;
    Ok([&nonce[..], &sealed].concat())
}

fn decrypt_secretbox(key: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = rest.split_first_chunk::<SECRETBOX_NONCE_LEN>()?;
    let cipher = XSalsa20Poly1305::new_from_slice(key).ok()?;
    cipher.decrypt(&(*nonce).into(), rest).ok()
}
