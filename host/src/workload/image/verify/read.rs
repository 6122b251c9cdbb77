//! Reads the files of `--verify-images`: a public key, or sigstore's `ClusterImagePolicy`,
//! `TrustRoot` and the Secrets that they name.
//!
//! A field that is not supported is an error: a policy that is enforced only in part protects
//! less than it says.

mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::authority::Authority;
use super::certificate::{Identity, Pattern, Roots};
use super::glob::Glob;
use super::public_key::{KeyError, PublicKey};
use super::{ImagePolicies, ImagePolicy};

use schema::{
    AuthoritySpec, ClusterImagePolicy, IdentitySpec, KeySpec, KeylessSpec, Secret, TrustRoot,
};

const GROUP: &str = "policy.sigstore.dev/";

/// Why a file of `--verify-images` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("`{}` has no ClusterImagePolicy; write one, or name a public key in PEM", .0.display())]
    Empty(PathBuf),
    #[error("`{}` cannot be read: {reason}", file.display())]
    Malformed { file: PathBuf, reason: String },
    #[error("{kind} `{name}` in `{}`: {reason}", file.display())]
    Object {
        file: PathBuf,
        kind: &'static str,
        name: String,
        reason: String,
    },
    #[error("the public key `{}` cannot be used", file.display())]
    Key { file: PathBuf, source: KeyError },
}

/// What policies refer to by name.
#[derive(Default)]
struct Referred {
    roots: BTreeMap<String, (Option<Roots>, Vec<PublicKey>)>,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl ImagePolicies {
    /// Reads all files: their paths and contents.
    ///
    /// # Errors
    /// A file is malformed, or says something that cannot be enforced.
    pub(crate) fn read(files: &[(PathBuf, Vec<u8>)]) -> Result<Self, PolicyError> {
        let mut policies = Vec::new();
        let mut documents = Vec::new();
        for (file, content) in files {
            if content.trim_ascii_start().starts_with(b"-----BEGIN ") {
                policies.push(key_policy(file, content)?);
                continue;
            }
            let found = parse(file, content)?;
            if found.is_empty() {
                return Err(PolicyError::Empty(file.clone()));
            }
            documents.extend(found.into_iter().map(|document| (file, document)));
        }
        let mut referred = Referred::default();
        for (file, document) in &documents {
            referred.add(file, document)?;
        }
        for (file, document) in &documents {
            if is_kind(document, GROUP, "ClusterImagePolicy") {
                policies.push(policy(file, document, &referred)?);
            }
        }
        match files.first() {
            Some((file, _)) if policies.is_empty() => Err(PolicyError::Empty(file.clone())),
            _ => Ok(Self { policies }),
        }
    }
}

/// The short form: every image must be signed with this key.
fn key_policy(file: &Path, pem: &[u8]) -> Result<ImagePolicy, PolicyError> {
    let keys = PublicKey::from_pem(pem).map_err(|source| PolicyError::Key {
        file: file.into(),
        source,
    })?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(ImagePolicy {
        name: name.clone().into_owned(),
        file: file.display().to_string(),
        images: Glob::parse("**").into_iter().collect(),
        authorities: vec![Authority::Key {
            name: name.into_owned(),
            keys,
            logs: Vec::new(),
        }],
        only_warns: false,
    })
}

fn parse(file: &Path, content: &[u8]) -> Result<Vec<Value>, PolicyError> {
    let malformed = |reason: String| PolicyError::Malformed {
        file: file.into(),
        reason,
    };
    let text = std::str::from_utf8(content).map_err(|error| malformed(error.to_string()))?;
    let documents = galleria_manifest::yaml_documents(text).map_err(malformed)?;
    let is_known = |document: &&Value| {
        let kinds = ["ClusterImagePolicy", "TrustRoot"];
        kinds.iter().any(|kind| is_kind(document, GROUP, kind)) || is_kind(document, "v1", "Secret")
    };
    match documents.iter().find(|document| !is_known(document)) {
        Some(other) => Err(malformed(format!(
            "`{}` of `{}` is not a policy; ClusterImagePolicy and TrustRoot of `{GROUP}…` and Secret of `v1` are",
            other["kind"].as_str().unwrap_or_default(),
            other["apiVersion"].as_str().unwrap_or_default(),
        ))),
        None => Ok(documents),
    }
}

fn is_kind(document: &Value, group: &str, kind: &str) -> bool {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    version.starts_with(group) && document["kind"] == kind
}

/// Reads one object, and explains what is wrong with it.
fn object<T: DeserializeOwned, R>(
    file: &Path,
    kind: &'static str,
    document: &Value,
    read: impl FnOnce(T) -> Result<R, String>,
) -> Result<R, PolicyError> {
    serde_json::from_value(document.clone())
        .map_err(|error| error.to_string())
        .and_then(read)
        .map_err(|reason| PolicyError::Object {
            file: file.into(),
            kind,
            name: document["metadata"]["name"].as_str().unwrap_or("").into(),
            reason,
        })
}

impl Referred {
    fn add(&mut self, file: &Path, document: &Value) -> Result<(), PolicyError> {
        if is_kind(document, GROUP, "TrustRoot") {
            object(file, "TrustRoot", document, |root: TrustRoot| {
                let keys = root.spec.keys;
                let authorities = keys.certificate_authorities.iter();
                let authorities = authorities.map(|it| roots(&decode(&it.chain, "certChain")?));
                let logs = keys.logs.iter().map(|log| {
                    let pem = decode(&log.public_key, "tLogs[].publicKey")?;
                    public_keys(&pem, "tLogs[].publicKey")
                });
                let logs = logs.collect::<Result<Vec<_>, String>>()?.concat();
                let authorities = authorities.collect::<Result<Vec<_>, String>>()?;
                let authorities = authorities.into_iter().reduce(|mut all, more| {
                    all.extend(more);
                    all
                });
                self.roots.insert(root.metadata.name, (authorities, logs));
                Ok(())
            })?;
        } else if is_kind(document, "v1", "Secret") {
            object(file, "Secret", document, |secret: Secret| {
                let encoded = secret.data.values().map(|it| decode(it, "data"));
                let plain = secret
                    .string_data
                    .into_values()
                    .map(|it| Ok(it.into_bytes()));
                let values: Result<Vec<_>, String> = encoded.chain(plain).collect();
                let Ok([value]) = <[Vec<u8>; 1]>::try_from(values?) else {
                    return Err("it must have exactly one key, with the public key in PEM".into());
                };
                self.secrets.insert(secret.metadata.name, value);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn root(&self, name: &str) -> Result<&(Option<Roots>, Vec<PublicKey>), String> {
        let root = self.roots.get(name);
        root.ok_or_else(|| {
            format!("there is no TrustRoot `{name}` in the files of --verify-images")
        })
    }

    /// The PEM text of a key or of certificates.
    fn pem(&self, key: &KeySpec) -> Result<Vec<u8>, String> {
        match (&key.data, &key.secret_ref) {
            (Some(data), None) => Ok(data.clone().into_bytes()),
            (None, Some(secret)) => self.secrets.get(&secret.name).cloned().ok_or_else(|| {
                let name = &secret.name;
                format!("there is no Secret `{name}` in the files of --verify-images")
            }),
            _ => Err("give either `data` or `secretRef`".into()),
        }
    }
}

fn policy(file: &Path, document: &Value, referred: &Referred) -> Result<ImagePolicy, PolicyError> {
    object(
        file,
        "ClusterImagePolicy",
        document,
        |policy: ClusterImagePolicy| {
            let spec = policy.spec;
            if spec.images.is_empty() || spec.authorities.is_empty() {
                return Err("it needs `images` and `authorities`".into());
            }
            let images = spec.images.iter().map(|image| {
            let glob = &image.glob;
            Glob::parse(glob).ok_or_else(|| format!("`{glob}` is not a pattern of image names; use letters, digits, `-_.:/`, `*` and `**`"))
        });
            let authorities = spec.authorities.iter().enumerate();
            let authorities = authorities.map(|(index, it)| {
                let name = it.name.clone().unwrap_or(format!("authority-{index}"));
                let read = authority(name.clone(), it, referred);
                read.map_err(|reason| format!("authority `{name}`: {reason}"))
            });
            Ok(ImagePolicy {
                name: policy.metadata.name.clone(),
                file: file.display().to_string(),
                images: images.collect::<Result<_, _>>()?,
                authorities: authorities.collect::<Result<_, _>>()?,
                only_warns: match spec.mode.as_deref() {
                    None | Some("enforce" | "") => false,
                    Some("warn") => true,
                    Some(mode) => {
                        return Err(format!("mode `{mode}` is neither `enforce` nor `warn`"));
                    }
                },
            })
        },
    )
}

fn authority(name: String, spec: &AuthoritySpec, referred: &Referred) -> Result<Authority, String> {
    if !matches!(spec.signature_format.as_deref(), None | Some("legacy" | "")) {
        return Err("only signatures of the format `legacy` are supported; sign with `cosign sign --new-bundle-format=false`".into());
    }
    let log = spec.ctlog.as_ref();
    let logs = match log.and_then(|log| log.trust_root_ref.as_ref()) {
        Some(root) => referred.root(root)?.1.clone(),
        None if log.is_some_and(|log| log.url.is_some()) => {
            return Err("`ctlog.url` is not contacted; give the log's key in a TrustRoot, named by `ctlog.trustRootRef`".into());
        }
        None => Vec::new(),
    };
    if logs.is_empty() && log.is_some_and(|log| log.trust_root_ref.is_some()) {
        return Err("the TrustRoot of `ctlog` has no `tLogs`".into());
    }
    match (&spec.key, &spec.keyless, &spec.fixed) {
        (Some(key), None, None) => {
            if !matches!(key.hash_algorithm.as_deref(), None | Some("sha256" | "")) {
                return Err("only the hash algorithm `sha256` is supported".into());
            }
            let keys = public_keys(&referred.pem(key)?, "key")?;
            Ok(Authority::Key { name, keys, logs })
        }
        (None, Some(spec), None) => keyless(name, spec, logs, referred),
        (None, None, Some(fixed)) => match fixed.action.as_str() {
            action @ ("pass" | "fail") => Ok(Authority::Static {
                name,
                passes: action == "pass",
                message: fixed.message.clone(),
            }),
            action => Err(format!("action `{action}` is neither `pass` nor `fail`")),
        },
        _ => Err("it needs exactly one of `key`, `keyless` and `static`".into()),
    }
}

fn keyless(
    name: String,
    spec: &KeylessSpec,
    mut logs: Vec<PublicKey>,
    referred: &Referred,
) -> Result<Authority, String> {
    if spec.insecure_ignore_sct != Some(true) {
        return Err(
            "signed certificate timestamps are not verified; state `insecureIgnoreSCT: true`"
                .into(),
        );
    }
    let roots = match (&spec.ca_cert, &spec.trust_root_ref) {
        (Some(authority), None) => roots(&referred.pem(authority)?)?,
        (None, Some(root)) => {
            let (authorities, of_root) = referred.root(root)?;
            logs.extend(of_root.iter().cloned());
            let authorities = authorities.clone();
            authorities.ok_or("its TrustRoot has no `certificateAuthorities`")?
        }
        _ => {
            return Err("it needs certificates of Fulcio, either by `ca-cert` or by `trustRootRef`; `url` is not contacted".into());
        }
    };
    if logs.is_empty() {
        return Err("it needs the key of a transparency log, which proves when a certificate was used: name a TrustRoot with `tLogs` in `ctlog.trustRootRef` or `keyless.trustRootRef`".into());
    }
    if spec.identities.is_empty() {
        return Err("it needs `identities`".into());
    }
    let identities = spec.identities.iter().map(identity);
    Ok(Authority::Keyless {
        name,
        roots,
        identities: identities.collect::<Result<_, _>>()?,
        logs,
    })
}

fn identity(spec: &IdentitySpec) -> Result<Identity, String> {
    Ok(Identity {
        issuer: pattern("issuer", spec.issuer.as_ref(), spec.issuer_reg_exp.as_ref())?,
        subject: pattern(
            "subject",
            spec.subject.as_ref(),
            spec.subject_reg_exp.as_ref(),
        )?,
    })
}

fn pattern(
    field: &str,
    exact: Option<&String>,
    regular: Option<&String>,
) -> Result<Pattern, String> {
    match (exact, regular) {
        (Some(text), None) => Ok(Pattern::Exactly(text.clone())),
        (None, Some(pattern)) => {
            let parsed = Regex::new(pattern);
            let parsed = parsed.map_err(|error| format!("`{field}RegExp`: {error}"))?;
            Ok(Pattern::Matching(parsed))
        }
        _ => Err(format!(
            "each of `identities` needs either `{field}` or `{field}RegExp`"
        )),
    }
}

fn public_keys(pem: &[u8], field: &str) -> Result<Vec<PublicKey>, String> {
    PublicKey::from_pem(pem).map_err(|error| format!("`{field}`: {error}"))
}

fn roots(pem: &[u8]) -> Result<Roots, String> {
    Roots::from_pem(pem).ok_or_else(|| "its certificates cannot be read; they must be PEM".into())
}

fn decode(text: &str, field: &str) -> Result<Vec<u8>, String> {
    let text: String = text.split_whitespace().collect();
    let decoded = BASE64_STANDARD.decode(text);
    decoded.map_err(|_| format!("`{field}` is not valid base64"))
}
