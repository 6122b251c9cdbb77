//! `x-forwarded-client-cert`: the certificate of a client, for the service that it calls.
//!
//! The text is the one that Envoy writes with the settings of Istio's gateways
//! (`set_current_client_cert_details` with cert, subject, uri and dns), or of its sidecars
//! (without cert), except for names with a separator of the format: they are quoted, as the
//! documentation of the format demands. Otherwise a certificate could add keys to the header.

use std::fmt::Write;

use http::HeaderValue;

/// The parts of a verified certificate that services learn.
#[derive(Debug, Clone, Default)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate.
    pub digest: [u8; 32],
    /// The certificate as PEM, for services behind a gateway.
    pub pem: Option<String>,
    /// As RFC 2253 writes and escapes it: `CN=client,O=shop`.
    pub subject: String,
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
}

impl ClientCertificate {
    /// The header. `by` are the URIs of the certificate that the client was shown. None if a
    /// name contains a character that a header must not contain.
    pub fn forwarded(&self, by: &[String]) -> Option<HeaderValue> {
        let pem = self.pem.as_deref();
        let mut text = String::with_capacity(256 + pem.map_or(0, |pem| 2 * pem.len()));
        for uri in by {
            // Writing to a string cannot fail.
            let _ = write!(text, "By={uri};");
        }
        text.push_str("Hash=");
        for byte in self.digest {
            let _ = write!(text, "{byte:02x}");
        }
        if let Some(pem) = pem {
            text.push_str(";Cert=\"");
            push_encoded(&mut text, pem);
            text.push('"');
        }
        let _ = write!(text, ";Subject=\"{}\"", self.subject);
        // The key is written even if the certificate has no URI.
        if self.uris.is_empty() {
            text.push_str(";URI=");
        }
        for uri in &self.uris {
            text.push_str(";URI=");
            push_name(&mut text, uri);
        }
        for name in &self.dns_names {
            text.push_str(";DNS=");
            push_name(&mut text, name);
        }
        HeaderValue::try_from(text).ok()
    }
}

/// The encoding of Envoy for PEM in a header: only the characters that PEM contains.
fn push_encoded(text: &mut String, pem: &str) {
    for character in pem.chars() {
        match character {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
}

fn push_name(text: &mut String, name: &str) {
    if !name.contains([',', ';', '"']) {
        text.push_str(name);
        return;
    }
    text.push('"');
    for character in name.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAb+/c==\n-----END CERTIFICATE-----\n";
    const CERT: &str =
        "Cert=\"-----BEGIN%20CERTIFICATE-----%0AAb%2B%2Fc%3D%3D%0A-----END%20CERTIFICATE-----%0A\"";

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn header_is_that_of_envoy() {
        let hash = "Hash=".to_owned() + &"0f".repeat(32);
        let spiffe = "spiffe://cluster.local/ns/a/sa/b";
        for (by, subject, uris, dns_names, expected) in [
            (
                &[][..],
                "CN=client,O=shop",
                &[spiffe][..],
                &["client.example.com", "c"][..],
                format!(
                    "{hash};{CERT};Subject=\"CN=client,O=shop\";URI={spiffe};DNS=client.example.com;DNS=c"
                ),
            ),
            (
                &[],
                "",
                &[],
                &[],
                format!("{hash};{CERT};Subject=\"\";URI="),
            ),
            (
                &["spiffe://x/gateway"],
                "CN=c",
                &["urn:a", "urn:b=1"],
                &[],
                format!(
                    "By=spiffe://x/gateway;{hash};{CERT};Subject=\"CN=c\";URI=urn:a;URI=urn:b=1"
                ),
            ),
            (
                &[],
                "CN=c",
                &["urn:x;URI=urn:forged"],
                &["a\",b"],
                format!(
                    "{hash};{CERT};Subject=\"CN=c\";URI=\"urn:x;URI=urn:forged\";DNS=\"a\\\",b\""
                ),
            ),
        ] {
            let certificate = ClientCertificate {
                digest: [0x0f; 32],
                pem: Some(PEM.to_owned()),
                subject: subject.to_owned(),
                uris: strings(uris),
                dns_names: strings(dns_names),
            };
            let header = certificate.forwarded(&strings(by)).expect("a header");
            assert_eq!(header, expected);
        }
    }

    #[test]
    fn header_between_workloads_is_that_of_sidecars() {
        let certificate = ClientCertificate {
            digest: [0x0f; 32],
            uris: strings(&["spiffe://cluster.local/ns/a/sa/b"]),
            ..ClientCertificate::default()
        };
        let by = strings(&["spiffe://cluster.local/ns/c/sa/d"]);
        let header = certificate.forwarded(&by).expect("a header");
        let hash = "0f".repeat(32);
        assert_eq!(
            header,
            format!(
                "By=spiffe://cluster.local/ns/c/sa/d;Hash={hash};Subject=\"\";URI=spiffe://cluster.local/ns/a/sa/b"
            )
        );
    }

    #[test]
    fn name_that_no_header_can_contain_leaves_no_header() {
        let certificate = ClientCertificate {
            uris: strings(&["urn:a\r\nhost: other"]),
            ..ClientCertificate::default()
        };
        assert!(certificate.forwarded(&[]).is_none());
    }
}
