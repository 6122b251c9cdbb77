//! A JSON Web Token: its parts, before its signature is verified.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::status::JwtStatus;

/// Bytes of a token. Tokens with many claims are below 8 KiB; the heads of requests are
/// larger.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Base64url, with or without padding.
pub(super) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token whose form is valid. Nothing in it is trusted.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// Empty if the token names no key.
    pub(super) key_id: String,
    /// As in the token, for the header that forwards it.
    pub(super) payload: &'a str,
    pub(super) claims: Map<String, Value>,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audiences: Vec<String>,
    pub(super) validity: Validity,
    /// What the signature is of.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// When a token is valid, in seconds since 1970; 0 where it does not say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Validity {
    not_before: u64,
    expiry: u64,
}

impl<'a> Token<'a> {
    /// Reads a token, in the order in which Envoy finds errors.
    pub(super) fn parse(text: &'a str) -> Result<Self, JwtStatus> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwtStatus::TooLarge);
        }
        let mut sections = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (
            sections.next(),
            sections.next(),
            sections.next(),
            sections.next(),
        ) else {
            return Err(JwtStatus::BadFormat);
        };
        if [header, payload, signature].iter().any(|it| it.is_empty()) {
            return Err(JwtStatus::BadFormat);
        }
        let (algorithm, key_id) = read_header(header)?;
        let claims = object(
            payload,
            JwtStatus::PayloadBadBase64,
            JwtStatus::PayloadBadJson,
        )?;
        let issuer = text_claim(&claims, "iss", JwtStatus::IssuerNotString)?;
        let subject = text_claim(&claims, "sub", JwtStatus::SubjectNotString)?;
        time_claim(
            &claims,
            "iat",
            JwtStatus::IssuedAtNotInteger,
            JwtStatus::IssuedAtOutOfRange,
        )?;
        let not_before = time_claim(
            &claims,
            "nbf",
            JwtStatus::NotBeforeNotInteger,
            JwtStatus::NotBeforeOutOfRange,
        )?;
        let expiry = time_claim(
            &claims,
            "exp",
            JwtStatus::ExpiryNotInteger,
            JwtStatus::ExpiryOutOfRange,
        )?;
        text_claim(&claims, "jti", JwtStatus::IdNotString)?;
        let audiences = audiences(&claims)?;
        let signed = header.len() + 1 + payload.len();
        let signature = BASE64URL
            .decode(signature)
            .map_err(|_| JwtStatus::SignatureBadBase64)?;
        Ok(Self {
            algorithm,
            key_id,
            payload,
            claims,
            issuer,
            subject,
            audiences,
            validity: Validity { not_before, expiry },
            signed: text.as_bytes().get(..signed).unwrap_or_default(),
            signature,
        })
    }
}

impl Validity {
    /// Whether the token is valid at `now`, in seconds since 1970. Clocks may differ by
    /// `skew` seconds.
    pub(super) fn check(self, now: u64, skew: u64) -> Result<(), JwtStatus> {
        if now.saturating_add(skew) < self.not_before {
            return Err(JwtStatus::NotYetValid);
        }
        if self.expiry > 0 && now > self.expiry.saturating_add(skew) {
            return Err(JwtStatus::Expired);
        }
        Ok(())
    }
}

fn read_header(text: &str) -> Result<(Algorithm, String), JwtStatus> {
    let header = object(text, JwtStatus::HeaderBadBase64, JwtStatus::HeaderBadJson)?;
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(JwtStatus::HeaderBadAlgorithm);
    };
    let algorithm = Algorithm::from_name(algorithm).ok_or(JwtStatus::HeaderUnsupportedAlgorithm)?;
    let key_id = text_claim(&header, "kid", JwtStatus::HeaderBadKeyId)?;
    if header.contains_key("crit") {
        return Err(JwtStatus::HeaderCritical);
    }
    Ok((algorithm, key_id))
}

fn object(
    text: &str,
    bad_base64: JwtStatus,
    bad_json: JwtStatus,
) -> Result<Map<String, Value>, JwtStatus> {
    let bytes = BASE64URL.decode(text).map_err(|_| bad_base64)?;
    serde_json::from_slice(&bytes).map_err(|_| bad_json)
}

/// Empty if absent.
fn text_claim(
    claims: &Map<String, Value>,
    name: &str,
    wrong: JwtStatus,
) -> Result<String, JwtStatus> {
    match claims.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong),
    }
}

/// 0 if absent. A fraction is cut off.
fn time_claim(
    claims: &Map<String, Value>,
    name: &str,
    wrong: JwtStatus,
    out_of_range: JwtStatus,
) -> Result<u64, JwtStatus> {
    let number = match claims.get(name) {
        None => return Ok(0),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(wrong),
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(seconds);
    }
    let seconds = number.as_f64().ok_or(wrong)?;
    // Beyond this, a double has no exact value of 64 bits.
    if !(0.0..18_446_744_073_709_551_615.0).contains(&seconds) {
        return Err(out_of_range);
    }
    Ok(seconds as u64)
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, JwtStatus> {
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(audience)) => Ok(vec![audience.clone()]),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|it| it.as_str().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .ok_or(JwtStatus::AudienceNotString)
        }
        Some(_) => Err(JwtStatus::AudienceNotString),
    }
}
