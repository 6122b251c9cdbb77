//! `tls` of a server of Istio's Gateway.

use super::secret::decode_base64;
use crate::codes;
use crate::decode::{Decoder, Fields, boolean, choice, items, located_string, string, strings};
use crate::model::{
    CertificateSource, CipherSuite, ClientVerification, ServerCertificate, ServerTls, TlsMode,
    TlsVersion, TlsVersions,
};
use crate::yaml::Node;

const MODES: &[(&str, TlsMode)] = &[
    ("PASSTHROUGH", TlsMode::Passthrough),
    ("SIMPLE", TlsMode::Simple),
    ("MUTUAL", TlsMode::Mutual),
    ("AUTO_PASSTHROUGH", TlsMode::AutoPassthrough),
    ("ISTIO_MUTUAL", TlsMode::IstioMutual),
    ("OPTIONAL_MUTUAL", TlsMode::OptionalMutual),
];

/// The suites of Istio. `None` is not available in this host.
const CIPHER_SUITES: &[(&str, Option<CipherSuite>)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        Some(CipherSuite::EcdheEcdsaAes128Gcm),
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        Some(CipherSuite::EcdheEcdsaAes256Gcm),
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        Some(CipherSuite::EcdheEcdsaChacha20),
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        Some(CipherSuite::EcdheRsaAes128Gcm),
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        Some(CipherSuite::EcdheRsaAes256Gcm),
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        Some(CipherSuite::EcdheRsaChacha20),
    ),
    ("ECDHE-ECDSA-AES128-SHA", None),
    ("ECDHE-ECDSA-AES256-SHA", None),
    ("ECDHE-RSA-AES128-SHA", None),
    ("ECDHE-RSA-AES256-SHA", None),
    ("AES128-GCM-SHA256", None),
    ("AES256-GCM-SHA384", None),
    ("AES128-SHA", None),
    ("AES256-SHA", None),
    ("DES-CBC3-SHA", None),
];

/// Fields that name certificates, the first with the highest precedence.
const SOURCES: &[&str] = &[
    "credentialName",
    "credentialNames",
    "tlsCertificates",
    "serverCertificate",
];

/// Fields that only matter if clients present certificates.
const CLIENT_FIELDS: &[&str] = &[
    "caCertificates",
    "caCertCredentialName",
    "caCrl",
    "subjectAltNames",
    "verifyCertificateHash",
    "verifyCertificateSpki",
];

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<ServerTls> {
    let mut fields = Fields::of(d, node)?;
    let https_redirect = fields.optional("httpsRedirect", boolean).unwrap_or(false);
    let mode = fields.optional("mode", |d, node| choice(d, node, "a TLS mode", MODES));
    let mode_failed = fields.has("mode") && mode.is_none();
    let mode = mode.unwrap_or(TlsMode::Passthrough);
    let certificates = certificates(&mut fields);
    let client = client(&mut fields);
    if mode == TlsMode::IstioMutual {
        with_identity(&mut fields);
    } else if !mode_failed && !mode.verifies_clients() {
        without_clients(&mut fields, mode);
        if mode == TlsMode::Simple && fields.has("caCrl") {
            let message = "must be absent in mode SIMPLE, which asks clients for no certificate; \
                           use MUTUAL";
            fields.error_at("caCrl", codes::EXCLUSIVE_FIELDS, message.to_owned());
        }
    }
    let versions = versions(&mut fields);
    let cipher_suites = fields.optional("cipherSuites", cipher_suites);
    fields.finish_strictly();
    Some(ServerTls {
        at: d.position(node.mark),
        https_redirect,
        mode,
        certificates: match mode {
            TlsMode::IstioMutual => Vec::new(),
            _ => certificates,
        },
        client,
        versions,
        cipher_suites: cipher_suites.unwrap_or_default(),
    })
}

/// The certificates of the field with the highest precedence. As in Istio, the others have no
/// effect.
fn certificates(fields: &mut Fields<'_, '_>) -> Vec<ServerCertificate> {
    let secret = |name| CertificateSource::Secret {
        name,
        namespace: None,
    };
    let named = fields.optional("credentialName", located_string);
    let names = fields.list("credentialNames", located_string);
    let files = fields.list("tlsCertificates", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let files = certificate_files(&mut fields);
        fields.ignore(&["caCertificates"]);
        fields.finish(&[]);
        files
    });
    let single = certificate_files(fields);
    let present: Vec<_> = SOURCES.iter().filter(|name| fields.has(name)).collect();
    let Some((used, unused)) = present.split_first() else {
        return Vec::new();
    };
    for name in unused {
        let message = format!("has no effect: `{used}` has precedence");
        fields.warn_at(name, codes::NOT_HONOURED, message);
    }
    let single_of = |source: Option<CertificateSource>| {
        let certificate = source.map(|source| ServerCertificate {
            field: (**used).to_owned(),
            source,
        });
        certificate.into_iter().collect()
    };
    let numbered = |sources: Vec<CertificateSource>| {
        let sources = sources.into_iter().enumerate();
        let certificates = sources.map(|(index, source)| ServerCertificate {
            field: format!("{used}[{index}]"),
            source,
        });
        certificates.collect()
    };
    match **used {
        "credentialName" => single_of(named.map(secret)),
        "credentialNames" => numbered(names.into_iter().map(secret).collect()),
        "tlsCertificates" => numbered(files),
        _ => single_of(single),
    }
}

/// `serverCertificate` and `privateKey`; an error if there is only one of them.
fn certificate_files(fields: &mut Fields<'_, '_>) -> Option<CertificateSource> {
    let certificate = fields.optional("serverCertificate", located_string);
    let private_key = fields.optional("privateKey", located_string);
    for (one, other) in [
        ("serverCertificate", "privateKey"),
        ("privateKey", "serverCertificate"),
    ] {
        if fields.has(one) && !fields.has(other) {
            fields.error_at(one, codes::MISSING_FIELD, format!("also needs `{other}`"));
        }
    }
    Some(CertificateSource::Files {
        certificate: certificate?,
        private_key: private_key?,
    })
}

fn client(fields: &mut Fields<'_, '_>) -> ClientVerification {
    let names = fields.optional("subjectAltNames", strings);
    ClientVerification {
        ca_certificates: fields.optional("caCertificates", located_string),
        ca_credential: fields.optional("caCertCredentialName", located_string),
        ca_crl: fields.optional("caCrl", located_string),
        subject_alt_names: names.unwrap_or_default(),
        public_keys: fields.list("verifyCertificateSpki", public_key_hash),
        certificates: fields.list("verifyCertificateHash", certificate_hash),
    }
}

/// Certificates and authorities are those of the mesh.
fn with_identity(fields: &mut Fields<'_, '_>) {
    let why = "in mode ISTIO_MUTUAL: the server presents the identity of the gateway, and its \
               clients have certificates of the mesh";
    let refused = SOURCES.iter().chain(&["privateKey", "caCertificates"]);
    let refused: Vec<_> = refused.filter(|name| fields.has(name)).collect();
    for name in refused {
        fields.error_at(
            name,
            codes::EXCLUSIVE_FIELDS,
            format!("must be absent {why}"),
        );
    }
    for name in ["caCertCredentialName", "caCrl"] {
        if fields.has(name) {
            fields.warn_at(name, codes::NOT_HONOURED, format!("has no effect {why}"));
        }
    }
}

fn without_clients(fields: &mut Fields<'_, '_>, mode: TlsMode) {
    let present: Vec<_> = CLIENT_FIELDS
        .iter()
        .filter(|name| fields.has(name))
        .collect();
    for name in present {
        let mode = mode.name();
        let message = format!(
            "has no effect in mode {mode}, which asks clients for no certificate; use MUTUAL"
        );
        fields.warn_at(name, codes::NOT_HONOURED, message);
    }
}

/// Base64 of a SHA-256.
fn public_key_hash(d: &mut Decoder, node: &Node) -> Option<[u8; 32]> {
    let text = string(d, node)?;
    let hash = decode_base64(&text).ok();
    let hash = hash.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if hash.is_none() {
        let shown = d.show(&text);
        let message = format!("{shown} is not the base64 form of a SHA-256 (32 bytes)");
        d.error(node.mark, codes::INVALID_VALUE, message);
    }
    hash
}

/// A SHA-256 in hexadecimal digits, which may be separated by colons.
fn certificate_hash(d: &mut Decoder, node: &Node) -> Option<[u8; 32]> {
    let text = string(d, node)?;
    let hash = hexadecimal(&text.replace(':', ""));
    if hash.is_none() {
        let shown = d.show(&text);
        let message = format!("{shown} is not a SHA-256 in 64 hexadecimal digits");
        d.error(node.mark, codes::INVALID_VALUE, message);
    }
    hash
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        u8::try_from(high? * 16 + low?).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes?.try_into().ok().filter(|_| rest.is_empty())
}

fn versions(fields: &mut Fields<'_, '_>) -> TlsVersions {
    let default = TlsVersions::default();
    let min = fields.optional("minProtocolVersion", version).flatten();
    let max = fields.optional("maxProtocolVersion", version).flatten();
    let versions = TlsVersions {
        min: min.unwrap_or(default.min),
        max: max.unwrap_or(default.max),
    };
    if versions.min > versions.max {
        let message = "must not be later than maxProtocolVersion".to_owned();
        fields.error_at("minProtocolVersion", codes::INVALID_VALUE, message);
    }
    versions
}

/// `Some(None)` is `TLS_AUTO`, the default.
#[expect(clippy::option_option, reason = "the outer is an error")]
fn version(d: &mut Decoder, node: &Node) -> Option<Option<TlsVersion>> {
    if let Some(old @ ("TLSV1_0" | "TLSV1_1")) = node.as_text() {
        let message = format!("{old} is not supported by this host; use TLSV1_2 or TLSV1_3");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    let versions = [
        ("TLS_AUTO", None),
        ("TLSV1_2", Some(TlsVersion::V1_2)),
        ("TLSV1_3", Some(TlsVersion::V1_3)),
    ];
    choice(d, node, "a TLS version", &versions)
}

/// At least one suite, unless the list is empty.
fn cipher_suites(d: &mut Decoder, node: &Node) -> Option<Vec<CipherSuite>> {
    let suites = items(d, node, |d, node| {
        let suite = choice(d, node, "a cipher suite", CIPHER_SUITES)?;
        if suite.is_none() {
            let message = "is not supported by this host, and is not offered to clients";
            d.warning(node.mark, codes::NOT_HONOURED, message);
        }
        Some(suite)
    })?;
    let available: Vec<_> = suites.iter().copied().flatten().collect();
    if available.is_empty() && !suites.is_empty() {
        let message = "none of these cipher suites is supported by this host; add one of the ECDHE suites with GCM or CHACHA20, or leave the field out";
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(available)
}
