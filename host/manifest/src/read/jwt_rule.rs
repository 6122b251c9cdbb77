//! One issuer of tokens: an entry of `jwtRules`, and Istio 1.2's `origins[].jwt`.

use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, header_name, non_empty, positive_duration, string, strings,
};
use crate::limits::JWKS_BYTES_MAX;
use crate::model::{ClaimToHeader, JwtHeader, JwtKeys, JwtRule};
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<JwtRule> {
    let mut fields = Fields::of(d, node)?;
    let issuer = fields.required("issuer", non_empty);
    let audiences = fields.list("audiences", non_empty);
    let keys = keys(&mut fields);
    let from_headers = fields.list("fromHeaders", header);
    let from_params = fields.list("fromParams", non_empty);
    let from_cookies = fields.list("fromCookies", non_empty);
    let output_payload_to_header = fields.optional("outputPayloadToHeader", output_header);
    let output_claim_to_headers = fields.list("outputClaimToHeaders", claim_to_header);
    let forward_original_token = fields
        .optional("forwardOriginalToken", boolean)
        .unwrap_or(false);
    let space_delimited_claims = fields
        .optional("spaceDelimitedClaims", strings)
        .unwrap_or_default();
    let timeout = fields.optional("timeout", positive_duration);
    fields.finish_strictly();
    Some(JwtRule {
        at: d.position(node.mark),
        issuer: issuer?,
        audiences,
        keys: keys?,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        output_claim_to_headers,
        forward_original_token,
        space_delimited_claims,
        timeout,
    })
}

/// The keys of `jwks` or `jwksUri`.
pub(super) fn keys(fields: &mut Fields<'_, '_>) -> Option<JwtKeys> {
    let inline = fields.optional("jwks", jwks);
    let uri = fields.optional("jwksUri", jwks_uri);
    match (fields.has("jwks"), fields.has("jwksUri")) {
        (true, true) => {
            let message = "only one of jwks and jwksUri can be set".to_owned();
            fields.error_at("jwks", codes::EXCLUSIVE_FIELDS, message);
            None
        }
        (true, false) => inline.map(JwtKeys::Inline),
        (false, true) => uri.map(JwtKeys::Remote),
        (false, false) => Some(JwtKeys::Discovered),
    }
}

/// A JSON Web Key Set. Which of its keys can be used is decided by what verifies with them.
fn jwks(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = non_empty(d, node)?;
    if text.len() > JWKS_BYTES_MAX {
        let message = format!(
            "has {} bytes, and at most {JWKS_BYTES_MAX} are read; leave out keys that are not \
             in use",
            text.len()
        );
        d.error(node.mark, codes::LIMIT, message);
        return None;
    }
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
    let problem = match &parsed {
        Err(error) => format!("is not JSON: {error}"),
        Ok(set) => match set.get("keys") {
            Some(serde_json::Value::Array(keys)) if !keys.is_empty() => return Some(text),
            Some(serde_json::Value::Array(_)) => "has no key in `keys`".to_owned(),
            _ => "has no list `keys`".to_owned(),
        },
    };
    let message = format!(
        "{problem}; write a JSON Web Key Set, for example {{\"keys\": [{{\"kty\": \"RSA\", …}}]}}"
    );
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn jwks_uri(d: &mut Decoder, node: &Node) -> Option<String> {
    let uri = non_empty(d, node)?;
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(scheme))
        .and_then(|rest| rest.split(['/', '?']).next());
    let has_credentials = host.is_some_and(|host| host.contains('@'));
    let is_plain = uri.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_some_and(|host| !host.is_empty()) && !has_credentials && is_plain {
        return Some(uri);
    }
    let message = "is not a URL of a key set; write `https://` or `http://`, a host and a path, \
                   without a user name";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn header(d: &mut Decoder, node: &Node) -> Option<JwtHeader> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", plain_header);
    let prefix = fields.optional("prefix", string).unwrap_or_default();
    fields.finish_strictly();
    Some(JwtHeader {
        name: name?,
        prefix,
    })
}

fn claim_to_header(d: &mut Decoder, node: &Node) -> Option<ClaimToHeader> {
    let mut fields = Fields::of(d, node)?;
    let header = fields.required("header", |d, node| {
        let name = output_header(d, node)?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !name.bytes().all(is_plain) {
            let message = "a cluster only allows letters, digits, `-` and `_` here";
            d.error(node.mark, codes::INVALID_VALUE, message);
        }
        Some(name)
    });
    let claim = fields.required("claim", non_empty);
    fields.finish_strictly();
    Some(ClaimToHeader {
        header: header?,
        claim: claim?,
    })
}

/// The name of a header that a request may have, in lower case.
pub(super) fn plain_header(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    header_name(d, &name, node, false)
}

/// The name of a header that the host sets. The host first removes the client's header of that
/// name, so it must not be one that routing or framing relies on.
fn output_header(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = plain_header(d, node)?;
    let reserved = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
    ];
    if !reserved.contains(&name.as_str()) {
        return Some(name);
    }
    let message = format!("`{name}` belongs to the transport; write a header of your own");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}
