//! Reads anything as a token and as a key set: neither may panic, and without the private key
//! no token may be valid.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use galleria_mesh::inbound::jwt::{KeySet, verify};
use libfuzzer_sys::fuzz_target;

/// The public keys of RFC 7517 and RFC 8037, one of each kind, without ids so that each is
/// tried for every token.
const KEYS: &str = r#"{"keys": [
    {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
     "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "RSA", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
]}"#;

static KEY_SET: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(KEYS.as_bytes()).expect("a key set"));

fuzz_target!(|text: &str| {
    let now = Duration::from_secs(1_700_000_000);
    let is_valid = |token: &str, keys: &KeySet| verify(token, keys, now).is_ok();
    assert!(!is_valid(text, &KEY_SET), "a forged token: {text}");
    // Sections that decode lead further than any text.
    let mut sections = text.splitn(3, '\n').map(|it| URL_SAFE_NO_PAD.encode(it));
    let mut next = || sections.next().unwrap_or_default();
    let token = format!("{}.{}.{}", next(), next(), next());
    assert!(!is_valid(&token, &KEY_SET), "a forged token: {token}");
    if let Ok(keys) = KeySet::parse(text.as_bytes()) {
        let _ = verify(&token, &keys, now);
    }
});
