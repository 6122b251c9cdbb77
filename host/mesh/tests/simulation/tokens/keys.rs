//! Key sets, inline and fetched.

#![expect(clippy::too_many_lines, reason = "each test is one table")]

use super::*;

#[test]
fn key_sets_are_read_leniently_and_used_strictly() {
    let issuer = Issuer::new();
    let [rsa, p256, _, ed] = issuer.keys();
    let token = |algorithm| issuer.token(algorithm, &claims(&json!({})));
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let oct = json!({"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"});
    let none = "401 Jwks doesn't have any valid public key";
    let rows = [
        (
            "alg of the token",
            with(&rsa, "alg", json!("RS256")),
            "RS256",
            ANN,
        ),
        (
            "another alg",
            with(&rsa, "alg", json!("RS512")),
            "RS256",
            NO_KEY,
        ),
        (
            "alg of another kind of key",
            with(&rsa, "alg", json!("ES256")),
            "RS256",
            none,
        ),
        (
            "for encryption",
            with(&rsa, "use", json!("enc")),
            "RS256",
            ANN,
        ),
        (
            "leading zero",
            with(
                &rsa,
                "n",
                json!(format!("AAAA{}", rsa["n"].as_str().unwrap_or_default())),
            ),
            "RS256",
            ANN,
        ),
        ("no modulus", with(&rsa, "n", Value::Null), "RS256", none),
        (
            "small modulus",
            with(&rsa, "n", json!(encoded(&[0xc5; 128]))),
            "RS256",
            FAILS,
        ),
        ("symmetric", oct, "RS256", none),
        (
            "another curve",
            with(&p256, "crv", json!("secp256k1")),
            "ES256",
            none,
        ),
        (
            "point not on the curve",
            with(&p256, "x", json!(encoded(&[1; 32]))),
            "ES256",
            FAILS,
        ),
        (
            "long coordinate",
            with(&p256, "x", json!(encoded(&[1; 33]))),
            "ES256",
            none,
        ),
        (
            "short Ed25519",
            with(&ed, "x", json!("AAAA")),
            "EdDSA",
            none,
        ),
        (
            "Ed25519 for a token of another algorithm",
            with(&ed, "kid", json!("rsa")),
            "RS256",
            "401 Jwt ED25519 signature is wrong length",
        ),
        (
            "Ed25519 that states its algorithm, for a token of another",
            with(&with(&ed, "kid", json!("rsa")), "alg", json!("EdDSA")),
            "RS256",
            NO_KEY,
        ),
        ("X25519", with(&ed, "crv", json!("X25519")), "EdDSA", none),
        ("text", json!("key"), "EdDSA", none),
    ];
    for (name, key, algorithm, expected) in rows {
        let world = world(&policy(&json!({"keys": [key]}).to_string(), ""));
        assert_eq!(
            summary(&world, &Call::bearer(&token(algorithm))),
            expected,
            "{name}"
        );
        let warned = world.diagnostics.iter().any(|it| it.contains("GAL0603"));
        assert_eq!(warned, expected == none, "{name}: {:?}", world.diagnostics);
    }
    let huge = format!(r#"{{"keys": [], "pad": "{}"}}"#, "a".repeat(10_000_000));
    assert!(KeySet::parse(huge.as_bytes()).is_err(), "10 MB");
    let many = json!({"keys": vec![ed; 65]}).to_string();
    assert!(KeySet::parse(many.as_bytes()).is_err(), "too many keys");
}

#[test]
fn fetched_keys_are_used_and_rotated() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let yaml = format!(
        "{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, \
         metadata: {{name: tokens, namespace: shop}}, spec: {{jwtRules: [\
         {{issuer: '{ISSUER}', jwksUri: 'https://issuer.test/keys', timeout: 9s}}]}}}}"
    );
    let world = world(&yaml);
    let cache = KeySetCache::default();
    let token = |issuer: &Issuer, id: &str| {
        issuer.signed(&json!({"alg": "EdDSA", "kid": id}), &claims(&json!({})))
    };
    let fetch = |call: &Call| match decide(&world, &cache, call) {
        Ok(TokenDecision::Fetch(sets)) => sets.into_iter().next(),
        _ => None,
    };
    let expired = old.token("EdDSA", &claims(&json!({"exp": 1})));
    assert!(fetch(&Call::new()).is_none(), "no token, no fetch");
    assert!(
        fetch(&Call::bearer(&expired)).is_none(),
        "nor for an expired one"
    );
    let first = Call::bearer(&token(&old, "ed"));
    let set = fetch(&first).expect("a fetch");
    assert_eq!(set.url, "https://issuer.test/keys");
    assert_eq!(set.timeout, jwt::FETCH_TIMEOUT, "no longer than the host's");
    let now = Instant::now();
    cache.store(&set, None, now);
    let failed = decide(&world, &cache, &first).expect_err("no keys");
    assert_eq!(failed.body, "Jwks remote fetch is failed");
    let keys = |issuer: &Issuer| KeySet::parse(issuer.key_set().as_bytes()).ok();
    cache.store(&set, keys(&old), now);
    assert!(matches!(
        decide(&world, &cache, &first),
        Ok(TokenDecision::Admitted(_))
    ));
    let rotated = Call::bearer(&token(&new, "new"));
    let refused = decide(&world, &cache, &rotated).expect_err("too early for a fetch");
    assert_eq!(refused.status, 401);
    let earlier = now.checked_sub(jwt::FETCH_INTERVAL).expect("an uptime");
    cache.store(&set, keys(&old), earlier);
    assert!(fetch(&rotated).is_some(), "an unknown key id");
}

#[test]
fn signature_that_was_verified_admits_nothing_but_the_same_token() {
    let issuer = Issuer::new();
    let world = world(&policy(&issuer.key_set(), ""));
    let cache = KeySetCache::default();
    let status = |token: &str| match decide(&world, &cache, &Call::bearer(token)) {
        Ok(TokenDecision::Admitted(it)) if it.principal.is_some() => 200,
        Ok(_) => 0,
        Err(reply) => reply.status.as_u16(),
    };
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let token = issuer.token(algorithm, &claims(&json!({})));
        assert_eq!((status(&token), status(&token)), (200, 200), "{algorithm}");
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let other = issuer.token(algorithm, &claims(&json!({"sub": "eve"})));
        let (other_signed, _) = other.rsplit_once('.').expect("a signature");
        let (head, payload) = signed.split_once('.').expect("a payload");
        for changed in [
            format!("{other_signed}.{signature}"),
            format!("{signed}.A{signature}"),
            format!("{signed}.{}", signature.get(4..).expect("a signature")),
            format!("{head}.{payload}{signature}.AAAA"),
        ] {
            assert_eq!(status(&changed), 401, "{algorithm}: {changed}");
        }
        let expired = issuer.token(algorithm, &claims(&json!({"exp": NOW - 61})));
        assert_eq!(status(&expired), 401, "{algorithm}");
    }
}

#[test]
fn signature_that_was_verified_is_refused_without_its_key() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let keys = |issuer: &Issuer| KeySet::parse(issuer.key_set().as_bytes()).expect("keys");
    let token = old.token("EdDSA", &claims(&json!({})));
    let now = Duration::from_secs(NOW);
    let before = keys(&old);
    assert!(jwt::verify(&token, &before, now).is_ok());
    assert!(jwt::verify(&token, &before, now).is_ok());
    assert!(jwt::verify(&token, &keys(&new), now).is_err());
    let late = now + Duration::from_secs(3_601);
    assert!(
        jwt::verify(&token, &before, late).is_err(),
        "it has expired"
    );
}

#[test]
fn keys_of_an_issuer_without_a_url_are_discovered() {
    let yaml = format!(
        "{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, \
         metadata: {{name: tokens, namespace: shop}}, spec: {{jwtRules: [\
         {{issuer: '{ISSUER}'}}]}}}}"
    );
    let token = Issuer::new().token("EdDSA", &claims(&json!({})));
    let world = world(&yaml);
    let decided = decide(&world, &KeySetCache::default(), &Call::bearer(&token));
    let Ok(TokenDecision::Fetch(sets)) = decided else {
        panic!("{decided:?}");
    };
    let url = "https://issuer.test/.well-known/openid-configuration";
    assert_eq!((sets[0].url.as_str(), sets[0].is_discovered), (url, true));
}
