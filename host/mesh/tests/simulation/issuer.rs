//! An issuer of tokens with a key of each kind.
//!
//! All keys are new in every run but the RSA key: `ring` cannot make one, so it is in a file,
//! and nothing else uses it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair,
};
use serde_json::{Value, json};

/// Test-only key, in PKCS#8: `openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt -outform DER`.
const RSA: &[u8] = include_bytes!("keys/rsa.pk8");

pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let ec = |algorithm| {
            let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
            EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).expect("a key")
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self {
            rsa: RsaKeyPair::from_pkcs8(RSA).expect("a key"),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).expect("a key"),
            random,
        }
    }

    /// The public keys `rsa`, `p256`, `p384` and `ed`.
    pub(crate) fn keys(&self) -> [Value; 4] {
        let rsa: PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let ec = |id: &str, curve: &str, key: &EcdsaKeyPair| {
            let (x, y) =
                key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
            json!({"kty": "EC", "kid": id, "crv": curve, "x": encoded(x), "y": encoded(y)})
        };
        [
            json!({"kty": "RSA", "kid": "rsa", "n": encoded(&rsa.n), "e": encoded(&rsa.e)}),
            ec("p256", "P-256", &self.p256),
            ec("p384", "P-384", &self.p384),
            json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519",
                "x": encoded(self.ed25519.public_key().as_ref())}),
        ]
    }

    pub(crate) fn key_set(&self) -> String {
        json!({"keys": self.keys()}).to_string()
    }

    /// A token with the key that the algorithm needs.
    pub(crate) fn token(&self, algorithm: &str, claims: &Value) -> String {
        let key_id = match algorithm {
            "ES256" => "p256",
            "ES384" => "p384",
            "EdDSA" => "ed",
            _ => "rsa",
        };
        self.signed(&json!({"alg": algorithm, "kid": key_id}), claims)
    }

    /// A token with this header, signed as its `alg` says.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let header_text = encoded(header.to_string().as_bytes());
        let text = format!("{header_text}.{}", encoded(claims.to_string().as_bytes()));
        let algorithm = header["alg"].as_str().unwrap_or("EdDSA");
        format!("{text}.{}", encoded(&self.sign(algorithm, text.as_bytes())))
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let rsa = |encoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(encoding, &self.random, text, &mut signature)
                .expect("a signature");
            signature
        };
        let ec = |key: &EcdsaKeyPair| {
            let signature = key.sign(&self.random, text).expect("a signature");
            signature.as_ref().to_vec()
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => ec(&self.p256),
            "ES384" => ec(&self.p384),
            "EdDSA" => self.ed25519.sign(text).as_ref().to_vec(),
            // The classic forgery: the public key as a shared secret.
            "HS256" => {
                let secret = self.rsa.public().as_ref();
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::sign(&key, text).as_ref().to_vec()
            }
            _ => Vec::new(),
        }
    }
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
