//! A JSON Web Key Set: the public keys of an issuer.

use base64::Engine;
use galleria_manifest::limits::JWKS_BYTES_MAX;
use ring::signature::{ED25519, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::status::JwtStatus;
use super::token::{BASE64URL, Token};

/// Keys of one set. Issuers publish two or three at a time; every key without an id is tried
/// for a token that names none.
const KEYS_MAX: usize = 64;

const ED25519_SIGNATURE_BYTES: usize = 64;

/// The keys of a set that can verify a signature.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// The text is not a key set that this host can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySetError {
    /// It has more than [`JWKS_BYTES_MAX`] bytes.
    TooLarge,
    /// It is not JSON with a list `keys`.
    Malformed,
    /// It has more keys than are tried.
    TooManyKeys,
    /// None of its keys is a public key of an algorithm that is accepted.
    NoValidKeys,
}

#[derive(Debug)]
struct Key {
    /// Empty if it has none.
    id: String,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point. The algorithm of the key says on which curve.
    Ec(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// Reads a key set. Keys of other kinds, symmetric keys among them, are left out.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(KeySetError::Malformed);
        };
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooManyKeys);
        }
        let keys: Vec<_> = keys.iter().filter_map(Key::read).collect();
        match keys.is_empty() {
            true => Err(KeySetError::NoValidKeys),
            false => Ok(Self { keys }),
        }
    }

    /// Whether a key has this id, or has none, so that it may be the one.
    pub(super) fn may_have(&self, id: &str) -> bool {
        id.is_empty() || self.keys.iter().any(|key| key.has_id(id))
    }

    /// Verifies the signature with every key that fits.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), JwtStatus> {
        if self.keys.is_empty() {
            return Err(JwtStatus::NoValidKeys);
        }
        let mut fitting = self.keys.iter().filter(|key| key.fits(token)).peekable();
        if fitting.peek().is_none() {
            return Err(JwtStatus::NoMatchingKey);
        }
        let mut status = JwtStatus::VerificationFails;
        for key in fitting {
            if key.verifies(token) {
                return Ok(());
            }
            if key.is_ed25519() && token.signature.len() != ED25519_SIGNATURE_BYTES {
                status = JwtStatus::SignatureWrongLength;
            }
        }
        Err(status)
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let key = value.as_object()?;
        let id = text(key, "kid").unwrap_or_default().to_owned();
        let stated = match key.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::from_name(name.as_str()?)?),
        };
        let (algorithm, material) = match text(key, "kty")? {
            "RSA" if stated.is_none_or(Algorithm::is_rsa) => {
                let (n, e) = (bytes(key, "n")?, bytes(key, "e")?);
                (stated, Material::Rsa { n, e })
            }
            "EC" => {
                let by_algorithm = match stated {
                    Some(Algorithm::Es256) => Some("P-256"),
                    Some(Algorithm::Es384) => Some("P-384"),
                    _ => None,
                };
                let (curve, size) = match text(key, "crv").or(by_algorithm)? {
                    "P-256" => (Algorithm::Es256, 32),
                    "P-384" => (Algorithm::Es384, 48),
                    _ => return None,
                };
                if stated.is_some_and(|stated| stated != curve) {
                    return None;
                }
                (Some(curve), Material::Ec(point(key, size)?))
            }
            "OKP" if text(key, "crv") == Some("Ed25519") => {
                let x = bytes(key, "x")?;
                let fits = x.len() == 32 && stated.is_none_or(|it| it == Algorithm::EdDsa);
                // A key that does not state its algorithm is tried for every token, as in
                // Envoy.
                (stated, Material::Ed25519(fits.then_some(x)?))
            }
            _ => return None,
        };
        Some(Self {
            id,
            algorithm,
            material,
        })
    }

    fn has_id(&self, id: &str) -> bool {
        self.id.is_empty() || self.id == id
    }

    fn fits(&self, token: &Token<'_>) -> bool {
        let names = token.key_id.is_empty() || self.has_id(&token.key_id);
        names && self.algorithm.is_none_or(|it| it == token.algorithm)
    }

    fn is_ed25519(&self) -> bool {
        matches!(self.material, Material::Ed25519(_))
    }

    fn verifies(&self, token: &Token<'_>) -> bool {
        let (signed, signature) = (token.signed, token.signature.as_slice());
        match &self.material {
            Material::Rsa { n, e } => token.algorithm.rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, signed, signature).is_ok()
            }),
            Material::Ec(point) => token.algorithm.ecdsa().is_some_and(|algorithm| {
                let key = UnparsedPublicKey::new(algorithm, point);
                key.verify(signed, signature).is_ok()
            }),
            Material::Ed25519(x) => {
                token.algorithm == Algorithm::EdDsa
                    && UnparsedPublicKey::new(&ED25519, x)
                        .verify(signed, signature)
                        .is_ok()
            }
        }
    }
}

fn text<'a>(key: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    key.get(name)?.as_str()
}

fn bytes(key: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let bytes = BASE64URL.decode(text(key, name)?).ok()?;
    // Some issuers write a leading zero, which `ring` does not accept.
    let start = match name {
        "n" | "e" => bytes.iter().position(|byte| *byte != 0)?,
        _ => 0,
    };
    Some(bytes.get(start..)?.to_vec())
}

/// The uncompressed form of a point whose coordinates have `size` bytes.
fn point(key: &Map<String, Value>, size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(key, name)?;
        let missing = size.checked_sub(coordinate.len())?;
        point.extend(std::iter::repeat_n(0, missing));
        point.extend(coordinate);
    }
    Some(point)
}
