//! What a client negotiates, and how long it holds.

use super::*;

#[tokio::test]
async fn requested_name_selects_the_server() {
    let yaml = gateway(&[
        ("[a.example.com]", "{mode: SIMPLE, credentialName: a}"),
        ("['*.example.com']", "{mode: SIMPLE, credentialName: wild}"),
        ("[gone.example.com]", "{mode: MUTUAL, credentialName: none}"),
    ]) + &tls_secret("a", &ecdsa(&["a.example.com"]))
        + &tls_secret("wild", &ecdsa(&["*.example.com"]));
    let loaded = load(&yaml);
    assert_eq!(loaded.faults.len(), 1);
    let port = port_of(&loaded);
    let client = Client::new();
    for (name, expected) in [
        ("a.example.com", Ok("a.example.com")),
        ("A.EXAMPLE.com", Ok("a.example.com")),
        ("b.example.com", Ok("*.example.com")),
        ("b.c.example.com", Ok("*.example.com")),
        // Its server is not opened, and no other server stands in for it.
        ("gone.example.com", Err("no server has the requested name")),
        ("example.com", Err("no server has the requested name")),
        ("", Err("no server has the requested name")),
    ] {
        let connected = client.connect(&port, name).await;
        let shown = connected.map(|(stream, _)| presented(&stream).join(" "));
        let shown = shown.map_err(|error| error.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(shown, expected, "{name}");
    }
    let (_, secured) = client
        .connect(&port, "a.example.com")
        .await
        .expect("connected");
    for (authority, belongs) in [
        ("a.example.com", Belongs::Here),
        ("A.example.com:8443", Belongs::Here),
        ("b.example.com", Belongs::Elsewhere),
        ("gone.example.com", Belongs::Elsewhere),
        ("other.com", Belongs::Nowhere),
    ] {
        assert_eq!(secured.session.belongs(authority), belongs, "{authority}");
    }
}

#[tokio::test]
async fn client_gets_the_certificate_that_it_can_verify() {
    let names = ["a.example.com"];
    let yaml = gateway(&[(
        "['*']",
        "{mode: SIMPLE, credentialNames: [rsa, ecdsa, other]}",
    )]) + &tls_secret("rsa", &rsa(&names))
        + &tls_secret("ecdsa", &ecdsa(&names))
        + &tls_secret("other", &ecdsa(&["b.example.com"]));
    let port = opened(&yaml);
    let provider = |wanted: &str| {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            suite.tls13().is_none() && name.contains(wanted)
        });
        Arc::new(provider)
    };
    let algorithm = |stream: &TlsStream<DuplexStream>| {
        let (_, connection) = stream.get_ref();
        let suite = connection.negotiated_cipher_suite().expect("a suite");
        format!("{:?}", suite.suite())
    };
    for wanted in ["ECDSA", "RSA"] {
        let client = Client::of(provider(wanted), &[&rustls::version::TLS12], None);
        let (stream, _) = client.connect(&port, "a.example.com").await.expect(wanted);
        assert!(
            algorithm(&stream).contains(wanted),
            "{}",
            algorithm(&stream)
        );
        assert_eq!(presented(&stream), names);
    }
    let (stream, _) = Client::new()
        .connect(&port, "b.example.com")
        .await
        .expect("connected");
    assert_eq!(
        presented(&stream),
        ["b.example.com"],
        "the name comes first"
    );
}

#[tokio::test]
async fn versions_and_cipher_suites_are_those_of_the_settings() {
    use rustls::version::{TLS12, TLS13};
    let secrets = tls_secret("s", &ecdsa(&["a"]));
    let settings = |more: &str| format!("{{mode: SIMPLE, credentialName: s{more}}}");
    for (more, old, new) in [
        ("", true, true),
        (", minProtocolVersion: TLSV1_3", false, true),
        (", maxProtocolVersion: TLSV1_2", true, false),
        (", cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]", false, true),
        (
            ", cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]",
            true,
            true,
        ),
    ] {
        let port = opened(&(gateway(&[("['*']", &settings(more))]) + &secrets));
        for (version, name, expected) in [
            (&TLS12, ProtocolVersion::TLSv1_2, old),
            (&TLS13, ProtocolVersion::TLSv1_3, new),
        ] {
            let connected = Client::with(&[version], None).connect(&port, "a").await;
            assert_eq!(connected.is_ok(), expected, "{more} {name:?}");
            if let Ok((stream, _)) = connected {
                assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
            }
        }
    }
}

#[tokio::test]
async fn protocol_is_negotiated_and_an_unknown_one_does_not_end_the_handshake() {
    let yaml = gateway(&[("['*']", "{mode: SIMPLE, credentialName: s}")]);
    let port = opened(&(yaml + &tls_secret("s", &ecdsa(&["a"]))));
    for (offered, expected) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], Some(Alpn::Http2)),
        (&[b"http/1.1"], Some(Alpn::Http1)),
        (&[b"istio"], None),
        (&[], None),
    ] {
        let client = Client::new().alpn(offered);
        let (_, secured) = client.connect(&port, "a").await.expect("connected");
        assert_eq!(secured.alpn, expected, "{offered:?}");
    }
}

#[tokio::test]
async fn session_is_resumed_until_the_policy_of_its_server_changes() {
    let server = ecdsa(&["a"]);
    let simple = gateway(&[("['*']", "{mode: SIMPLE, credentialName: s}")]);
    let first = load(&(simple + &tls_secret("s", &server)));
    let port = port_of(&first);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = Client::with(&[version], None);
        client.config.resumption = Resumption::in_memory_sessions(8);
        let kind = async |client: &Client| {
            let (stream, _) = client.connect(&port, "a").await.expect("connected");
            stream.get_ref().1.handshake_kind().expect("a handshake")
        };
        assert_eq!(kind(&client).await, HandshakeKind::Full);
        assert_eq!(kind(&client).await, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn new_certificates_end_no_connection_and_a_new_policy_does() {
    let (old, new) = (ecdsa(&["a"]), ecdsa(&["a"]));
    let server = |more: &str| {
        gateway(&[(
            "['*']",
            &format!("{{mode: SIMPLE, credentialName: s{more}}}"),
        )])
    };
    let first = load(&(server("") + &tls_secret("s", &old)));
    let port = port_of(&first);
    let (_, secured) = Client::new().connect(&port, "a").await.expect("connected");
    let second = load_after(&(server("") + &tls_secret("s", &new)), &first);
    port.replace(Security::Tls(second.port(443).expect("open").clone()));
    assert!(!secured.retired.is_cancelled());
    assert_eq!(secured.session.belongs("a"), Belongs::Here);
    let (_, later) = Client::new().connect(&port, "a").await.expect("connected");
    let third = load_after(
        &(server(", minProtocolVersion: TLSV1_3") + &tls_secret("s", &new)),
        &second,
    );
    port.replace(Security::Tls(third.port(443).expect("open").clone()));
    assert!(later.retired.is_cancelled() && secured.retired.is_cancelled());
    port.replace(Security::plain());
    assert_eq!(later.session.belongs("a"), Belongs::Elsewhere);
}
