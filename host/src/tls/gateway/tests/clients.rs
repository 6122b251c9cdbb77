//! Which clients are accepted.

use super::*;

#[tokio::test]
async fn client_needs_a_certificate_of_the_authorities() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let server = ecdsa(&["a"]);
    let Identity { certificate, key } = &server;
    let pem = authority.pem();
    let list = authority.revoke(&[13]);
    let spiffe = "spiffe://cluster.local/ns/a/sa/b";
    let [good, revoked, foreign] = [
        authority.client(1, &[spiffe]),
        authority.client(13, &[]),
        other.client(1, &[spiffe]),
    ];
    let plain = [
        ("tls.crt", certificate.as_str()),
        ("tls.key", key),
        ("ca.crt", &pem),
    ];
    let with_list = [&plain[..], &[("ca.crl", &list)]].concat();
    let nobody = Client::new();
    let clients = [
        ("none", &nobody),
        ("good", &Client::presenting(&good)),
        ("revoked", &Client::presenting(&revoked)),
        ("foreign", &Client::presenting(&foreign)),
    ];
    for (tls, entries, accepted) in [
        (
            "{mode: MUTUAL, credentialName: s}",
            &plain[..],
            &["good", "revoked"][..],
        ),
        ("{mode: MUTUAL, credentialName: s}", &with_list, &["good"]),
        (
            "{mode: OPTIONAL_MUTUAL, credentialName: s}",
            &with_list,
            &["none", "good"],
        ),
        (
            "{mode: SIMPLE, credentialName: s}",
            &with_list,
            &["none", "good", "revoked", "foreign"],
        ),
        (
            "{mode: MUTUAL, credentialName: s, subjectAltNames: [x, 'spiffe://cluster.local/ns/a/sa/b']}",
            &plain,
            &["good"],
        ),
        (
            "{mode: MUTUAL, credentialName: s, subjectAltNames: [client.example.com]}",
            &plain,
            &["good", "revoked"],
        ),
        (
            "{mode: MUTUAL, credentialName: s, subjectAltNames: [other]}",
            &plain,
            &[],
        ),
    ] {
        let port = opened(&(gateway(&[("['*']", tls)]) + &secret("s", entries)));
        for (name, client) in &clients {
            let failure = client.failure(&port, "a").await;
            let is_accepted = accepted.contains(name);
            assert_eq!(
                failure == "connected",
                is_accepted,
                "{tls}: {name}: {failure}"
            );
        }
    }
}

#[tokio::test]
async fn service_learns_the_certificate_of_its_client() {
    let authority = Authority::new("clients");
    let spiffe = "spiffe://cluster.local/ns/a/sa/b";
    let Identity { certificate, key } = &ecdsa(&["a"]);
    let pem = authority.pem();
    let entries = [
        ("tls.crt", certificate.as_str()),
        ("tls.key", key),
        ("ca.crt", &pem),
    ];
    let tls = "{mode: MUTUAL, credentialName: s}";
    let port = opened(&(gateway(&[("['*']", tls)]) + &secret("s", &entries)));
    let client = Client::presenting(&authority.client(1, &[spiffe]));
    let (_, secured) = client.connect(&port, "a").await.expect("connected");
    let header = secured.session.certificate().expect("a header");
    let header = header.to_str().expect("ASCII");
    let (hash, rest) = header.split_once(';').expect("parts");
    assert!(hash.starts_with("Hash=") && hash.len() == 69, "{hash}");
    assert!(
        rest.starts_with("Cert=\"-----BEGIN%20CERTIFICATE-----%0A"),
        "{rest}"
    );
    assert!(
        rest.ends_with(&format!(
            "%0A-----END%20CERTIFICATE-----%0A\";Subject=\"CN=client\";URI={spiffe};DNS=client.example.com"
        )),
        "{rest}"
    );
}
