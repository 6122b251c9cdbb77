//! Which certificates are found, and what is reported.

use super::*;

#[test]
fn certificate_is_found_under_each_of_its_names() {
    let identity = ecdsa(&["shop.example.com"]);
    let Identity { certificate, key } = &identity;
    let authority = Authority::new("clients").pem();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, contents: &str| {
        let path = folder.path().join(name);
        fs::write(&path, contents).expect("a file");
        path.display().to_string()
    };
    let (chain_file, key_file, ca_file) = (
        file("tls.crt", certificate),
        file("tls.key", key),
        file("ca.crt", &authority),
    );
    let files = format!("serverCertificate: {chain_file}, privateKey: {key_file}");
    for (tls, secrets) in [
        (
            "{mode: SIMPLE, credentialName: s}".to_owned(),
            secret("s", &[("tls.crt", certificate), ("tls.key", key)]),
        ),
        (
            "{mode: SIMPLE, credentialName: s}".to_owned(),
            secret("s", &[("cert", certificate), ("key", key)]),
        ),
        (
            "{mode: MUTUAL, credentialName: s}".to_owned(),
            secret(
                "s",
                &[("cert", certificate), ("key", key), ("cacert", &authority)],
            ),
        ),
        (
            "{mode: MUTUAL, credentialName: s}".to_owned(),
            secret(
                "s",
                &[
                    ("tls.crt", certificate),
                    ("tls.key", key),
                    ("ca.crt", &authority),
                ],
            ),
        ),
        (
            "{mode: OPTIONAL_MUTUAL, credentialName: s}".to_owned(),
            tls_secret("s", &identity) + &secret("s-cacert", &[("cacert", &authority)]),
        ),
        (
            "{mode: MUTUAL, credentialName: s, caCertCredentialName: ca}".to_owned(),
            tls_secret("s", &identity) + &secret("ca", &[("ca.crt", &authority)]),
        ),
        (format!("{{mode: SIMPLE, {files}}}"), String::new()),
        (
            format!("{{mode: MUTUAL, {files}, caCertificates: {ca_file}}}"),
            String::new(),
        ),
        (
            format!("{{mode: SIMPLE, tlsCertificates: [{{{files}}}]}}"),
            String::new(),
        ),
        (
            "{mode: SIMPLE, credentialNames: [s, t]}".to_owned(),
            tls_secret("s", &identity) + &tls_secret("t", &rsa(&["shop.example.com"])),
        ),
    ] {
        let loaded = load(&(gateway(&[("[shop.example.com]", &tls)]) + &secrets));
        assert_eq!(loaded.faults, [], "{tls}");
        assert!(loaded.port(443).is_some(), "{tls}");
        assert!(!loaded.expiring().is_empty());
    }
}

/// TLS settings, Secrets, the field that is reported, and a part of the message.
type Unusable = (&'static str, String, &'static str, &'static str);

fn unusable_pairs() -> Vec<Unusable> {
    let (one, other) = (ecdsa(&["a"]), ecdsa(&["b"]));
    let simple = "{mode: SIMPLE, credentialName: s}";
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let pair =
        |certificate: &str, key: &str| secret("s", &[("tls.crt", certificate), ("tls.key", key)]);
    let with = |name: &str, value: &str| {
        let pair = [
            ("tls.crt", one.certificate.as_str()),
            ("tls.key", &one.key),
            (name, value),
        ];
        secret("s", &pair)
    };
    vec![
        (
            simple,
            String::new(),
            "credentialName",
            "there is no Secret shop/s",
        ),
        (
            simple,
            with("x", "y").replace("tls.key", "other"),
            "credentialName",
            "has no key `tls.crt` or `tls.key`",
        ),
        (
            simple,
            pair("nonsense", &one.key),
            "credentialName",
            "`tls.crt` of the Secret shop/s is not PEM with certificates",
        ),
        (
            simple,
            pair(broken, &one.key),
            "credentialName",
            "rustls refuses the certificate or its key",
        ),
        (
            simple,
            pair(&one.certificate, "nonsense"),
            "credentialName",
            "is not PEM with a private key",
        ),
        (
            simple,
            pair(&one.certificate, &other.key),
            "credentialName",
            "its private key does not belong to its certificate",
        ),
    ]
}

fn unusable_settings() -> Vec<Unusable> {
    let one = ecdsa(&["a"]);
    let authority = Authority::new("clients").pem();
    let mutual = "{mode: MUTUAL, credentialName: s}";
    let with = |name: &str, value: &str| {
        let pair = [
            ("tls.crt", one.certificate.as_str()),
            ("tls.key", &one.key),
            (name, value),
        ];
        secret("s", &pair)
    };
    let complete = secret(
        "s",
        &[
            ("tls.crt", one.certificate.as_str()),
            ("tls.key", &one.key),
            ("ca.crt", &authority),
            ("ca.crl", "no list"),
        ],
    );
    let missing =
        "{mode: SIMPLE, serverCertificate: /nowhere/tls.crt, privateKey: /nowhere/tls.key}";
    vec![
        (
            mutual,
            tls_secret("s", &one),
            "credentialName",
            "has no key `ca.crt`",
        ),
        (
            mutual,
            with("ca.crt", "nonsense"),
            "credentialName",
            "`ca.crt` of the Secret shop/s is not PEM",
        ),
        (
            mutual,
            complete,
            "credentialName",
            "`ca.crl` of the Secret shop/s is not PEM with revocation lists",
        ),
        (
            missing,
            String::new(),
            "serverCertificate",
            "/nowhere/tls.crt: ",
        ),
        (
            "{mode: AUTO_PASSTHROUGH}",
            String::new(),
            "",
            "mode AUTO_PASSTHROUGH is not supported",
        ),
        (
            "{mode: ISTIO_MUTUAL}",
            String::new(),
            "",
            "mode ISTIO_MUTUAL needs an authority that clients share",
        ),
    ]
}

#[test]
fn unusable_certificate_is_reported_and_its_server_not_opened() {
    for (tls, secrets, field, expected) in [unusable_pairs(), unusable_settings()].concat() {
        let loaded = load(&(gateway(&[("['*']", tls)]) + &secrets));
        assert!(loaded.port(443).is_none(), "{expected}");
        let [fault] = &loaded.faults[..] else {
            panic!("{expected}: {:?}", loaded.faults);
        };
        assert!(
            fault.message.contains(expected),
            "{expected}: {}",
            fault.message
        );
        assert!(fault.path.ends_with(field), "{expected}: {}", fault.path);
        assert!(
            fault.to_string().ends_with("the server is not opened"),
            "{fault}"
        );
    }
}

#[test]
fn unusable_replacement_keeps_the_previous_certificate() {
    let server = gateway(&[("['*']", "{mode: SIMPLE, credentialName: s}")]);
    let (old, new) = (ecdsa(&["old"]), ecdsa(&["new"]));
    let first = load(&(server.clone() + &tls_secret("s", &old)));
    let context = |tls: &GatewayTls| tls.port(443).expect("open").all[0].context.clone();
    let mixed = Identity {
        certificate: new.certificate.clone(),
        key: old.key.clone(),
    };
    for secrets in [String::new(), tls_secret("s", &mixed)] {
        let next = load_after(&(server.clone() + &secrets), &first);
        let (kept, before) = (context(&next).expect("one"), context(&first).expect("one"));
        assert!(Arc::ptr_eq(&kept, &before));
        assert!(
            next.faults[0]
                .to_string()
                .ends_with("keeps its previous certificates")
        );
    }
    let same = load_after(&(server.clone() + &tls_secret("s", &old)), &first);
    let replaced = load_after(&(server + &tls_secret("s", &new)), &first);
    let is_same =
        |one: &GatewayTls| Arc::ptr_eq(&context(one).expect("one"), &context(&first).expect("one"));
    assert!(is_same(&same), "its sessions can be resumed");
    assert!(!is_same(&replaced) && replaced.faults.is_empty());
}

#[test]
fn changed_file_makes_the_configuration_stale() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = ecdsa(&["a"]);
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let tls = format!(
        "{{mode: SIMPLE, serverCertificate: {}, privateKey: {}}}",
        chain.display(),
        key.display()
    );
    let yaml = gateway(&[("['*']", &tls)]);
    let missing = load(&yaml);
    assert!(!missing.is_stale());
    fs::write(&chain, &identity.certificate).expect("a file");
    assert!(missing.is_stale());
    fs::write(&key, &identity.key).expect("a file");
    let complete = load(&yaml);
    assert!(complete.port(443).is_some() && !complete.is_stale());
    fs::write(&key, ecdsa(&["b"]).key).expect("a file");
    assert!(complete.is_stale());
}
