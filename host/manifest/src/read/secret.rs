//! Secret. Its values are decoded and never appear in a message.

use crate::codes;
use crate::decode::{Decoder, Fields, boolean, map, non_empty, steps};
use crate::model::{Resource, Secret, SecretValue};
use crate::yaml::{Node, ResolvedScalar, Value};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let secret_type = fields
        .optional("type", non_empty)
        .unwrap_or_else(|| "Opaque".to_owned());
    let mut data = fields
        .optional("data", |d, node| {
            map(d, node, |d, key, value| {
                config_key(d, key, value);
                base64_value(d, value, "stringData").map(SecretValue::new)
            })
        })
        .unwrap_or_default();
    let plain = fields
        .optional("stringData", |d, node| {
            map(d, node, |d, key, value| {
                config_key(d, key, value);
                text(d, value).map(|text| SecretValue::new(text.as_bytes().to_vec()))
            })
        })
        .unwrap_or_default();
    data.extend(plain);
    check_size(&mut fields, data.values().map(|value| value.expose().len()));
    if secret_type == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"] {
            if !data.contains_key(key) {
                let message = format!("a secret of type kubernetes.io/tls needs the key `{key}`");
                let mark = fields.mark_of("data");
                fields.d.within(steps!["data", key], |d| {
                    d.error(mark, codes::MISSING_FIELD, message);
                });
            }
        }
    }
    if secret_type == DOCKER_CONFIG {
        let value = data.get(DOCKER_CONFIG_KEY);
        if !value.is_some_and(|it| it.expose().starts_with(ENCRYPTED)) {
            check_docker_config(&mut fields, value);
        }
    }
    let immutable = fields.optional("immutable", boolean).unwrap_or(false);
    fields.finish(&[]);
    Some(Resource::Secret(Secret {
        immutable,
        secret_type,
        data,
    }))
}

/// Bytes of all values of a Secret or a ConfigMap, as in a cluster.
const SIZE_MAX: usize = 1 << 20;

/// Refuses the object if its values are together too large for a cluster.
pub(super) fn check_size(fields: &mut Fields<'_, '_>, sizes: impl Iterator<Item = usize>) {
    let size: usize = sizes.sum();
    if size > SIZE_MAX {
        let mark = fields.mark_of("data");
        let message = format!("the values have {size} bytes, and at most {SIZE_MAX} are allowed");
        fields
            .d
            .under("data", |d| d.error(mark, codes::LIMIT, message));
    }
}

/// How a value begins that is encrypted at rest; it is decrypted after it was read.
const ENCRYPTED: &[u8] = b"k8s:enc:";

const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// Credentials for registries: JSON with the field `auths`.
fn check_docker_config(fields: &mut Fields<'_, '_>, value: Option<&SecretValue>) {
    let (code, message) = match value.map(|value| serde_json::from_slice(value.expose())) {
        None => (
            codes::MISSING_FIELD,
            format!("a secret of type {DOCKER_CONFIG} needs the key `{DOCKER_CONFIG_KEY}`"),
        ),
        Some(Ok(serde_json::Value::Object(config)))
            if config
                .get("auths")
                .is_some_and(serde_json::Value::is_object) =>
        {
            return;
        }
        Some(Ok(_)) => (
            codes::INVALID_VALUE,
            format!("`{DOCKER_CONFIG_KEY}` has no `auths`, which lists the registries"),
        ),
        Some(Err(_)) => (
            codes::INVALID_VALUE,
            format!(
                "`{DOCKER_CONFIG_KEY}` is not JSON; `kubectl create secret docker-registry` writes it"
            ),
        ),
    };
    let field = if fields.has("stringData") {
        "stringData"
    } else {
        "data"
    };
    let mark = fields.mark_of(field);
    fields.d.under(field, |d| d.error(mark, code, message));
}

/// Keys become file names: letters, digits, `-`, `_` and `.`.
pub(super) fn config_key(d: &mut Decoder, key: &str, value: &Node) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let valid = !key.is_empty()
        && key.len() <= 253
        && key.bytes().all(allowed)
        && key != "."
        && !key.starts_with("..");
    if !valid {
        let message = "not a valid key; use letters, digits, `-`, `_` and `.`, at most 253";
        d.error(value.mark, codes::INVALID_VALUE, message);
    }
}

/// A string, or an error that does not contain the value. As in a cluster, a key without a
/// value is an empty string.
pub(super) fn text<'n>(d: &mut Decoder, node: &'n Node) -> Option<&'n str> {
    let found = match &node.value {
        Value::Scalar(scalar) => match scalar.resolve() {
            ResolvedScalar::Text => return Some(&scalar.text),
            ResolvedScalar::Null => return Some(""),
            ResolvedScalar::Bool(_) => "a boolean; put it in quotes",
            ResolvedScalar::Int(_) | ResolvedScalar::Float(_) => "a number; put it in quotes",
        },
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping; text in braces needs quotes",
    };
    d.error(
        node.mark,
        codes::WRONG_TYPE,
        format!("expected a string, found {found}"),
    );
    None
}

/// The bytes of a base64 text; `plain` is the field that takes plain text.
pub(super) fn base64_value(d: &mut Decoder, node: &Node, plain: &str) -> Option<Vec<u8>> {
    let encoded = text(d, node)?;
    match decode_base64(encoded) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            let message = format!(
                "not base64: {reason}; encode the value, or write it plainly under `{plain}`"
            );
            d.error(node.mark, codes::BASE64, message);
            None
        }
    }
}

/// Standard alphabet with padding; line breaks are skipped.
pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut filled, mut symbols, mut padding) = (0_u32, 0, 0_usize, 0_usize);
    for (index, symbol) in text.chars().enumerate() {
        let value = match symbol {
            'A'..='Z' => symbol as u32 - 'A' as u32,
            'a'..='z' => symbol as u32 - 'a' as u32 + 26,
            '0'..='9' => symbol as u32 - '0' as u32 + 52,
            '+' => 62,
            '/' => 63,
            '\r' | '\n' => continue,
            '=' => {
                padding += 1;
                symbols += 1;
                continue;
            }
            '-' | '_' => {
                return Err(format!(
                    "character {} is from the URL alphabet, which is not allowed here",
                    index + 1
                ));
            }
            _ => return Err(format!("character {} is not in its alphabet", index + 1)),
        };
        if padding > 0 {
            return Err("something follows the padding".to_owned());
        }
        symbols += 1;
        bits = bits << 6 | value;
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            bytes.push((bits >> filled & 0xff) as u8);
        }
    }
    if symbols % 4 != 0 || padding > 2 {
        return Err(
            "its length is not a multiple of 4; padding with `=` is missing or cut off".to_owned(),
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decode_base64("cm9vdA=="), Ok(b"root".to_vec()));
        assert_eq!(decode_base64("cm9v\ndA==\n"), Ok(b"root".to_vec()));
        assert_eq!(decode_base64(""), Ok(Vec::new()));
        assert_eq!(decode_base64("/+8="), Ok(vec![0xff, 0xef]));
    }

    #[test]
    fn what_is_not_base64_is_refused_without_showing_it() {
        for text in ["hunter2!", "cm9vdA", "cm9vdA=", "cm=9", "====", "_-8="] {
            let reason = decode_base64(text).expect_err(text);
            assert!(!reason.contains(text), "{reason}");
        }
    }
}
