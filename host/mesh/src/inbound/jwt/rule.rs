//! The verification of tokens of one issuer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use galleria_manifest::model::{JwtKeys, JwtRule};
use http::HeaderValue;
use http::header::HeaderName;
use serde_json::{Map, Value};

use super::accepted::{Accepted, AcceptedTokens, TokenHash};
use super::cache::{FETCH_TIMEOUT, KeySetCache, Lookup, RemoteKeySet};
use super::key_set::KeySet;
use super::location::{Locations, Place};
use super::status::JwtStatus;
use super::token::{TOKEN_BYTES_MAX, Token};
use super::{Authenticated, Edit, TokenTime};
use crate::RequestHead;
use crate::inbound::RequestPrincipal;

/// Seconds by which the clocks of the issuer and of the host can differ, as in Envoy.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// Claims whose text is always a list.
const SPACE_DELIMITED: [&str; 2] = ["permission", "scope"];

/// One entry of `jwtRules`, compiled.
#[derive(Debug)]
pub(crate) struct TokenRule {
    pub(super) issuer: String,
    audiences: Vec<String>,
    keys: Keys,
    locations: Locations,
    payload_header: Option<HeaderName>,
    claim_headers: Vec<(HeaderName, String)>,
    forwards_token: bool,
    space_delimited: Vec<String>,
    accepted: AcceptedTokens,
}

#[derive(Debug)]
enum Keys {
    /// `None` if the set has no key that can be used.
    Inline(Option<Arc<KeySet>>),
    Remote(Arc<RemoteKeySet>),
}

/// The tokens of a request while rules verify them, one rule after the other.
#[derive(Debug)]
pub(super) struct RequestTokens<'r> {
    pub(super) head: &'r RequestHead<'r>,
    time: TokenTime,
    cache: &'r KeySetCache,
    stale: Vec<Arc<RemoteKeySet>>,
    /// What becomes of the request so far. A token that is removed here is not there for the
    /// rules that follow.
    pub(super) edits: Vec<Edit>,
}

/// Why a rule does not accept a request.
#[derive(Debug)]
pub(super) enum NotAccepted {
    Invalid(JwtStatus),
    /// The keys have to be fetched first.
    Pending(Arc<RemoteKeySet>),
}

impl From<JwtStatus> for NotAccepted {
    fn from(status: JwtStatus) -> Self {
        Self::Invalid(status)
    }
}

impl<'r> RequestTokens<'r> {
    pub(super) fn new(head: &'r RequestHead<'r>, time: TokenTime, cache: &'r KeySetCache) -> Self {
        Self {
            head,
            time,
            cache,
            stale: Vec::new(),
            edits: Vec::new(),
        }
    }

    pub(super) fn admitted(self, principal: Option<Arc<RequestPrincipal>>) -> Authenticated {
        Authenticated {
            principal,
            stale: self.stale,
            edits: self.edits,
        }
    }

    fn has(&self, place: Place<'_>) -> bool {
        !self.edits.iter().any(|edit| match (edit, place) {
            (Edit::RemoveToken(removed), Place::Header(name)) => removed == name,
            (Edit::RemoveParam(removed), Place::Param(name)) => removed == name,
            _ => false,
        })
    }
}

impl TokenRule {
    pub(crate) fn new(rule: &JwtRule) -> Self {
        let remote = |url: String, is_discovered| {
            Keys::Remote(Arc::new(RemoteKeySet {
                url,
                is_discovered,
                timeout: rule.timeout.unwrap_or(FETCH_TIMEOUT).min(FETCH_TIMEOUT),
            }))
        };
        let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        let claim_headers = rule.output_claim_to_headers.iter();
        Self {
            issuer: rule.issuer.clone(),
            audiences: rule
                .audiences
                .iter()
                .map(|it| sanitized(it).into())
                .collect(),
            keys: match &rule.keys {
                JwtKeys::Inline(text) => {
                    Keys::Inline(KeySet::parse(text.as_bytes()).ok().map(Arc::new))
                }
                JwtKeys::Remote(url) => remote(url.clone(), false),
                JwtKeys::Discovered => {
                    let issuer = rule.issuer.trim_end_matches('/');
                    remote(format!("{issuer}/.well-known/openid-configuration"), true)
                }
            },
            locations: Locations::new(rule),
            payload_header: rule.output_payload_to_header.as_deref().and_then(header),
            claim_headers: claim_headers
                .filter_map(|it| Some((header(&it.header)?, it.claim.clone())))
                .collect(),
            forwards_token: rule.forward_original_token,
            space_delimited: rule.space_delimited_claims.clone(),
            accepted: AcceptedTokens::default(),
        }
    }

    /// The headers that only the host may set.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &HeaderName> {
        let claims = self.claim_headers.iter().map(|(header, _)| header);
        self.payload_header.iter().chain(claims)
    }

    /// Verifies the tokens of a request, the last place first, as Envoy does. All of them
    /// must be valid: an application could use another token than the one that was verified.
    pub(super) fn verify(
        &self,
        tokens: &mut RequestTokens<'_>,
    ) -> Result<Arc<RequestPrincipal>, NotAccepted> {
        // A rule before may have set the same headers.
        if tokens
            .edits
            .iter()
            .any(|edit| matches!(edit, Edit::Add(..)))
        {
            let outputs = self.outputs().cloned().map(Edit::Take);
            tokens.edits.extend(outputs);
        }
        let mut principal = None;
        let mut found = self.locations.find(tokens.head);
        found.retain(|found| tokens.has(found.place));
        for found in found.iter().rev() {
            let accepted = self.accept(&found.text, tokens)?;
            tokens.edits.extend_from_slice(&accepted.outputs);
            tokens.edits.extend(self.removal(found.place));
            principal = Some(accepted.principal.clone());
        }
        principal.ok_or(JwtStatus::Missed.into())
    }

    /// Verifies a token, unless it was accepted before.
    fn accept(
        &self,
        text: &str,
        tokens: &mut RequestTokens<'_>,
    ) -> Result<Arc<Accepted>, NotAccepted> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwtStatus::TooLarge.into());
        }
        let hash = TokenHash::of(text);
        let now = tokens.time.unix.as_secs();
        if let Some(accepted) = self.accepted.get(hash, text.len()) {
            accepted.validity.check(now, CLOCK_SKEW_SECONDS)?;
            if accepted.is_by(&self.keys_for(&accepted.key_id, tokens)?) {
                return Ok(accepted);
            }
        }
        let token = self.read(text, now)?;
        let keys = self.keys_for(&token.key_id, tokens)?;
        keys.verify(&token)?;
        let accepted = Arc::new(Accepted {
            keys: Arc::downgrade(&keys),
            key_id: token.key_id.clone(),
            validity: token.validity,
            outputs: self.outputs_of(&token),
            principal: Arc::new(self.principal(token)),
        });
        self.accepted.insert(hash, text.len(), accepted.clone());
        Ok(accepted)
    }

    /// The keys that may have verified a token that names `key_id`.
    fn keys_for(
        &self,
        key_id: &str,
        tokens: &mut RequestTokens<'_>,
    ) -> Result<Arc<KeySet>, NotAccepted> {
        let remote = match &self.keys {
            Keys::Inline(Some(keys)) => return Ok(keys.clone()),
            Keys::Inline(None) => return Err(JwtStatus::NoValidKeys.into()),
            Keys::Remote(remote) => remote,
        };
        match tokens.cache.find(remote, key_id, tokens.time.monotonic) {
            Lookup::Found(keys) => Ok(keys),
            Lookup::Stale(keys) => {
                tokens.stale.push(remote.clone());
                Ok(keys)
            }
            Lookup::Absent => Err(NotAccepted::Pending(remote.clone())),
            Lookup::Failed => Err(JwtStatus::FetchFailed.into()),
        }
    }

    /// Checks everything of a token but its signature.
    fn read<'t>(&self, text: &'t str, now: u64) -> Result<Token<'t>, JwtStatus> {
        let token = Token::parse(text)?;
        if token.issuer != self.issuer {
            return Err(JwtStatus::UnknownIssuer);
        }
        token.validity.check(now, CLOCK_SKEW_SECONDS)?;
        let allowed = |audience: &String| {
            let audience = sanitized(audience);
            self.audiences.iter().any(|allowed| allowed == audience)
        };
        if !self.audiences.is_empty() && !token.audiences.iter().any(allowed) {
            return Err(JwtStatus::AudienceNotAllowed);
        }
        Ok(token)
    }

    /// The headers with the payload and the claims of a token.
    fn outputs_of(&self, token: &Token<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut add = |header: &HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                edits.push(Edit::Add(header.clone(), value));
            }
        };
        if let Some(header) = &self.payload_header {
            add(header, token.payload.trim_end_matches('='));
        }
        for (header, claim) in &self.claim_headers {
            let value = nested(&token.claims, claim).and_then(header_text);
            if let Some(value) = value {
                add(header, &value);
            }
        }
        edits
    }

    /// How the token is removed from the request, if it is not forwarded.
    fn removal(&self, place: Place<'_>) -> Option<Edit> {
        match place {
            _ if self.forwards_token => None,
            Place::Header(name) => Some(Edit::RemoveToken(name.clone())),
            Place::Param(name) => Some(Edit::RemoveParam(name.to_owned())),
            Place::Cookie => None,
        }
    }

    fn principal(&self, token: Token<'_>) -> RequestPrincipal {
        let mut claims = token.claims;
        let custom = self.space_delimited.iter().map(String::as_str);
        for name in custom.chain(SPACE_DELIMITED) {
            if let Some(claim) = claims.get_mut(name)
                && let Value::String(text) = &*claim
            {
                let words = text.split(' ').map(|word| Value::String(word.to_owned()));
                *claim = Value::Array(words.collect());
            }
        }
        let presenter = claims.get("azp").and_then(Value::as_str);
        RequestPrincipal {
            presenter: presenter.map(str::to_owned),
            issuer: token.issuer,
            subject: token.subject,
            audiences: token.audiences,
            claims,
        }
    }
}

/// An audience without scheme and final slash, which Envoy ignores on both sides.
fn sanitized(audience: &str) -> &str {
    let schemes = ["https://", "http://"];
    let rest = schemes.iter().find_map(|it| audience.strip_prefix(it));
    let rest = rest.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// The claim at a path of names, separated by dots.
fn nested<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Text, numbers and booleans as they are, lists and objects as JSON in Base64; `None` for
/// `null` and for no text.
fn header_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(double)) if double >= 0.0 && double.fract() == 0.0 && double < 1.8e19 => {
                format!("{double:.0}")
            }
            (None, double) => format!("{:.6}", double?),
        },
        Value::Array(_) | Value::Object(_) => STANDARD.encode(value.to_string()),
        Value::Null => return None,
    };
    (!text.is_empty()).then_some(text)
}
