//! The fields of sigstore's objects that are read. Every other field of a policy is an error;
//! `url`s are accepted because policies have them by default, and are not contacted.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `policy.sigstore.dev`, `ClusterImagePolicy`.
#[derive(Deserialize)]
pub(super) struct ClusterImagePolicy {
    pub(super) metadata: Metadata,
    pub(super) spec: PolicySpec,
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySpec {
    #[serde(default)]
    pub(super) images: Vec<ImagePattern>,
    #[serde(default)]
    pub(super) authorities: Vec<AuthoritySpec>,
    pub(super) mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagePattern {
    pub(super) glob: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AuthoritySpec {
    pub(super) name: Option<String>,
    pub(super) key: Option<KeySpec>,
    pub(super) keyless: Option<KeylessSpec>,
    #[serde(rename = "static")]
    pub(super) fixed: Option<StaticSpec>,
    pub(super) ctlog: Option<LogSpec>,
    pub(super) signature_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct KeySpec {
    pub(super) data: Option<String>,
    pub(super) secret_ref: Option<SecretReference>,
    pub(super) hash_algorithm: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SecretReference {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticSpec {
    pub(super) action: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LogSpec {
    pub(super) url: Option<Value>,
    pub(super) trust_root_ref: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct KeylessSpec {
    #[serde(rename = "url")]
    _url: Option<Value>,
    #[serde(default)]
    pub(super) identities: Vec<IdentitySpec>,
    #[serde(rename = "ca-cert")]
    pub(super) ca_cert: Option<KeySpec>,
    pub(super) trust_root_ref: Option<String>,
    #[serde(rename = "insecureIgnoreSCT")]
    pub(super) insecure_ignore_sct: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct IdentitySpec {
    pub(super) issuer: Option<String>,
    pub(super) issuer_reg_exp: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) subject_reg_exp: Option<String>,
}

/// `policy.sigstore.dev`, `TrustRoot`: keys and certificates that policies refer to. TUF
/// repositories (`remote`, `repository`) are not supported.
#[derive(Deserialize)]
pub(super) struct TrustRoot {
    pub(super) metadata: Metadata,
    pub(super) spec: TrustRootSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustRootSpec {
    #[serde(rename = "sigstoreKeys")]
    pub(super) keys: SigstoreKeys,
}

#[derive(Deserialize)]
pub(super) struct SigstoreKeys {
    #[serde(default, rename = "certificateAuthorities")]
    pub(super) certificate_authorities: Vec<CertificateAuthority>,
    #[serde(default, rename = "tLogs")]
    pub(super) logs: Vec<TransparencyLog>,
}

#[derive(Deserialize)]
pub(super) struct CertificateAuthority {
    /// The base64 of PEM.
    #[serde(rename = "certChain")]
    pub(super) chain: String,
}

#[derive(Deserialize)]
pub(super) struct TransparencyLog {
    /// The base64 of PEM.
    #[serde(rename = "publicKey")]
    pub(super) public_key: String,
}

/// `v1`, `Secret`, with a public key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Secret {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) string_data: BTreeMap<String, String>,
}
