//! Reads anything as a certificate of a client: reading does not panic, and no name in it adds
//! an element or a key to the header that describes it to services.

#![no_main]

/// The sources of the host, which has no library for them.
#[path = "../../host/src/tls"]
#[allow(dead_code, reason = "the host uses more of them")]
mod tls {
    mod pem;

    pub(crate) use pem::certificate_pem;

    pub(crate) mod gateway {
        pub(in crate::tls) mod certificate;
        mod subject;

        use http::HeaderValue;
        use rustls::pki_types::CertificateDer;

        /// The URIs and DNS names of a certificate, and the header that describes it.
        pub(crate) fn read(
            certificate: &CertificateDer<'_>,
        ) -> Option<(Vec<String>, Vec<String>, Option<HeaderValue>)> {
            let parts = certificate::CertificateParts::of(certificate)?;
            let header = certificate::forwarded(certificate, &[]);
            Some((parts.uris, parts.dns_names, header))
        }
    }
}

use galleria_mesh::inbound::SpiffeId;
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;

fuzz_target!(|der: &[u8]| {
    let Some((uris, dns_names, header)) = tls::gateway::read(&CertificateDer::from(der)) else {
        return;
    };
    for uri in &uris {
        if let Ok(id) = uri.parse::<SpiffeId>() {
            assert_eq!(id.as_str(), uri);
            assert!(!id.namespace().contains('/') && !id.account().contains('/'));
        }
    }
    let Some(header) = header else {
        return;
    };
    let mut expected = vec!["Hash", "Cert", "Subject"];
    // A certificate without a URI has the key `URI` with an empty value.
    expected.extend(vec!["URI"; uris.len().max(1)]);
    expected.extend(vec!["DNS"; dns_names.len()]);
    let pairs = pairs(header.as_bytes());
    let keys: Vec<_> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, expected, "{header:?}");
    let values = |key: &str| -> Vec<String> {
        let pairs = pairs.iter().filter(|(it, _)| it == key);
        pairs.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(values("DNS"), dns_names);
    if !uris.is_empty() {
        assert_eq!(values("URI"), uris);
    }
});

/// The keys and values of the only element, as Envoy's documentation of the header describes
/// them: a value may be quoted, and a backslash before a quote or a backslash escapes it.
fn pairs(header: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut text = std::str::from_utf8(header).expect("UTF-8").chars();
    loop {
        let key: String = text.by_ref().take_while(|it| *it != '=').collect();
        let mut value = String::new();
        let mut is_quoted = false;
        let end = loop {
            match text.next() {
                Some('"') if is_quoted || value.is_empty() => is_quoted = !is_quoted,
                Some('\\') if is_quoted => match text.next() {
                    Some(escaped @ ('"' | '\\')) => value.push(escaped),
                    other => value.extend(['\\'].into_iter().chain(other)),
                },
                Some(',') if !is_quoted => panic!("another element: {header:?}"),
                end @ (Some(';') | None) if !is_quoted => break end,
                Some(character) => value.push(character),
                None => panic!("a quote without an end: {header:?}"),
            }
        };
        pairs.push((key, value));
        if end.is_none() {
            return pairs;
        }
    }
}
