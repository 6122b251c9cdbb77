//! Which tokens are valid.

#![expect(clippy::too_many_lines, reason = "each test is one table")]

use super::*;

#[test]
fn only_signatures_with_a_public_key_are_accepted() {
    let issuer = Issuer::new();
    let world = world(&policy(&issuer.key_set(), ""));
    let ann = claims(&json!({}));
    for algorithm in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ] {
        let token = issuer.token(algorithm, &ann);
        assert_eq!(summary(&world, &Call::bearer(&token)), ANN, "{algorithm}");
    }
    for algorithm in [
        "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "ES512", "rs256", "RS1", "",
    ] {
        let token = issuer.token(algorithm, &ann);
        // An empty third section is another error, which Envoy finds first.
        let expected = match token.ends_with('.') {
            true => FORM,
            false => UNSUPPORTED,
        };
        assert_eq!(
            summary(&world, &Call::bearer(&token)),
            expected,
            "{algorithm}"
        );
        let padded = format!("{}AAAA", token);
        let expected = UNSUPPORTED;
        assert_eq!(
            summary(&world, &Call::bearer(&padded)),
            expected,
            "{algorithm}"
        );
    }
}

#[test]
fn forged_tokens_are_refused() {
    let (issuer, thief) = (Issuer::new(), Issuer::new());
    let world = world(&policy(&issuer.key_set(), ""));
    let ann = claims(&json!({}));
    let good = issuer.token("ES256", &ann);
    let sections: Vec<&str> = good.split('.').collect();
    let admin = encoded(claims(&json!({"sub": "admin"})).to_string().as_bytes());
    let none = encoded(br#"{"alg":"none"}"#);
    let rows = [
        (
            "another key with the same id",
            thief.token("ES256", &ann),
            FAILS,
        ),
        (
            "other claims",
            format!("{}.{admin}.{}", sections[0], sections[2]),
            FAILS,
        ),
        (
            "stolen, with alg none",
            format!("{none}.{}.{}", sections[1], sections[2]),
            UNSUPPORTED,
        ),
        (
            "no signature",
            format!("{}.{}.", sections[0], sections[1]),
            FORM,
        ),
        (
            "one byte of a signature",
            format!("{}.{}.AA", sections[0], sections[1]),
            FAILS,
        ),
        (
            "public key as a shared secret",
            issuer.signed(&json!({"alg": "HS256", "kid": "rsa"}), &ann),
            UNSUPPORTED,
        ),
        (
            "the key of another algorithm",
            issuer.signed(&json!({"alg": "ES256", "kid": "rsa"}), &ann),
            FAILS,
        ),
        (
            "key id of another curve",
            issuer.signed(&json!({"alg": "ES256", "kid": "p384"}), &ann),
            NO_KEY,
        ),
        (
            "unknown key id",
            issuer.signed(&json!({"alg": "ES256", "kid": "x"}), &ann),
            NO_KEY,
        ),
        (
            "key in the token",
            thief.signed(&json!({"alg": "ES256", "jwk": thief.keys()[1]}), &ann),
            FAILS,
        ),
    ];
    for (name, token, expected) in rows {
        assert_eq!(summary(&world, &Call::bearer(&token)), expected, "{name}");
    }
    let unnamed = issuer.signed(&json!({"alg": "ES256"}), &ann);
    assert_eq!(
        summary(&world, &Call::bearer(&unnamed)),
        ANN,
        "every key is tried"
    );
}

#[test]
fn claims_are_checked_in_order() {
    let issuer = Issuer::new();
    let world = world(&policy(
        &issuer.key_set(),
        ", audiences: ['https://a.test/', b]",
    ));
    let b = json!({"aud": "b"});
    let with = |name: &str, value: Value| {
        let mut changes = b.clone();
        changes[name] = value;
        changes
    };
    let rows = [
        ("an audience", b.clone(), ANN),
        ("one of several", json!({"aud": ["x", "b"]}), ANN),
        (
            "another scheme, no slash",
            json!({"aud": "http://a.test"}),
            ANN,
        ),
        (
            "another audience",
            json!({"aud": "c"}),
            "403 Audiences in Jwt are not allowed",
        ),
        (
            "no audience",
            json!({}),
            "403 Audiences in Jwt are not allowed",
        ),
        (
            "number as audience",
            json!({"aud": 1}),
            "401 Jwt payload [aud] field is not a string or string list",
        ),
        (
            "numbers as audiences",
            json!({"aud": [1]}),
            "401 Jwt payload [aud] field is not a string or string list",
        ),
        (
            "another issuer",
            with("iss", json!(OTHER)),
            "401 Jwt issuer is not configured",
        ),
        (
            "issuer with a slash",
            with("iss", json!("https://issuer.test/")),
            "401 Jwt issuer is not configured",
        ),
        (
            "empty issuer",
            with("iss", json!("")),
            "401 Jwt issuer is not configured",
        ),
        (
            "number as issuer",
            with("iss", json!(7)),
            "401 Jwt payload [iss] field is not a string",
        ),
        (
            "null as issuer",
            with("iss", Value::Null),
            "401 Jwt payload [iss] field is not a string",
        ),
        (
            "number as subject",
            with("sub", json!(7)),
            "401 Jwt payload [sub] field is not a string",
        ),
        (
            "expired",
            with("exp", json!(NOW - 61)),
            "401 Jwt is expired",
        ),
        ("expired within the skew", with("exp", json!(NOW - 60)), ANN),
        ("no end", with("exp", json!(0)), ANN),
        (
            "end as text",
            with("exp", json!("tomorrow")),
            "401 Jwt payload [exp] field is not an integer",
        ),
        (
            "negative end",
            with("exp", json!(-1)),
            "401 Jwt payload [exp] field is not a positive 64 bit integer",
        ),
        (
            "end beyond 64 bits",
            with("exp", json!(1e30)),
            "401 Jwt payload [exp] field is not a positive 64 bit integer",
        ),
        (
            "end with a fraction",
            with("exp", json!(NOW as f64 + 0.5)),
            ANN,
        ),
        ("end at the last second", with("exp", json!(u64::MAX)), ANN),
        (
            "not yet valid",
            with("nbf", json!(NOW + 61)),
            "401 Jwt not yet valid",
        ),
        ("not yet within the skew", with("nbf", json!(NOW + 60)), ANN),
        (
            "begin as text",
            with("nbf", json!("now")),
            "401 Jwt payload [nbf] field is not an integer",
        ),
        ("issued in the future", with("iat", json!(NOW + 999)), ANN),
        (
            "issued as text",
            with("iat", json!("now")),
            "401 Jwt payload [iat] field is not an integer",
        ),
        (
            "number as id",
            with("jti", json!(7)),
            "401 Jwt payload [jti] field is not a string",
        ),
        (
            "expired, for another audience",
            json!({"aud": "c", "exp": 1}),
            "401 Jwt is expired",
        ),
        (
            "of another issuer, expired",
            json!({"iss": OTHER, "exp": 1}),
            "401 Jwt issuer is not configured",
        ),
    ];
    for (name, changes, expected) in rows {
        let token = issuer.token("EdDSA", &claims(&changes));
        assert_eq!(summary(&world, &Call::bearer(&token)), expected, "{name}");
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let issuer = Issuer::new();
    let world = world(&policy(&issuer.key_set(), ""));
    let good = issuer.token("EdDSA", &claims(&json!({})));
    let sections: Vec<&str> = good.split('.').collect();
    let with_header =
        |header: &[u8]| format!("{}.{}.{}", encoded(header), sections[1], sections[2]);
    let with_payload =
        |payload: &[u8]| format!("{}.{}.{}", sections[0], encoded(payload), sections[2]);
    let deep = "[".repeat(5_000);
    let rows = [
        ("word", "token".to_owned(), FORM),
        (
            "two sections",
            format!("{}.{}", sections[0], sections[1]),
            FORM,
        ),
        ("four sections", format!("{good}.a"), FORM),
        (
            "empty header",
            format!(".{}.{}", sections[1], sections[2]),
            FORM,
        ),
        (
            "base64 with plus",
            format!("a+b.{}.{}", sections[1], sections[2]),
            "401 Jwt header is an invalid Base64url encoded",
        ),
        (
            "header is no JSON",
            with_header(b"{alg"),
            "401 Jwt header is an invalid JSON",
        ),
        (
            "header is a list",
            with_header(b"[]"),
            "401 Jwt header is an invalid JSON",
        ),
        (
            "no alg",
            with_header(b"{}"),
            "401 Jwt header [alg] field is required and must be a string",
        ),
        (
            "alg is a number",
            with_header(br#"{"alg":1}"#),
            "401 Jwt header [alg] field is required and must be a string",
        ),
        (
            "kid is a number",
            with_header(br#"{"alg":"EdDSA","kid":1}"#),
            "401 Jwt header [kid] field is not a string",
        ),
        (
            "unknown extension",
            with_header(br#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#),
            "401 Jwt header [crit] is not supported",
        ),
        (
            "payload is no JSON",
            with_payload(b"ann"),
            "401 Jwt payload is an invalid JSON",
        ),
        (
            "payload is a list",
            with_payload(b"[1]"),
            "401 Jwt payload is an invalid JSON",
        ),
        (
            "deep payload",
            with_payload(deep.as_bytes()),
            "401 Jwt payload is an invalid JSON",
        ),
        (
            "payload in base64",
            format!("{}.a+b.{}", sections[0], sections[2]),
            "401 Jwt payload is an invalid Base64url encoded",
        ),
        (
            "signature in base64",
            format!("{}.{}.a+b", sections[0], sections[1]),
            "401 Jwt signature is an invalid Base64url encoded",
        ),
        (
            "a megabyte",
            "a".repeat(1024 * 1024),
            "401 Jwt is too large",
        ),
        (
            "one byte too large",
            "a".repeat(TOKEN_BYTES_MAX + 1),
            "401 Jwt is too large",
        ),
    ];
    for (name, token, expected) in rows {
        assert_eq!(summary(&world, &Call::bearer(&token)), expected, "{name}");
    }
}
