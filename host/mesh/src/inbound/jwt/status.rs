//! Why a token is refused, in Envoy's words.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use crate::{LocalReply, RequestHead, ResponseFlags};

/// Bytes of the URL in `www-authenticate`, as in Envoy.
const REALM_PATH_BYTES_MAX: usize = 256;

/// Why a request is not authenticated. The variants and texts are those of Envoy's
/// `jwt_authn` filter, unless a comment says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtStatus {
    Missed,
    NotYetValid,
    Expired,
    BadFormat,
    HeaderBadBase64,
    HeaderBadJson,
    HeaderBadAlgorithm,
    HeaderUnsupportedAlgorithm,
    HeaderBadKeyId,
    PayloadBadBase64,
    PayloadBadJson,
    IssuerNotString,
    SubjectNotString,
    IssuedAtNotInteger,
    IssuedAtOutOfRange,
    NotBeforeNotInteger,
    NotBeforeOutOfRange,
    ExpiryNotInteger,
    ExpiryOutOfRange,
    IdNotString,
    AudienceNotString,
    SignatureBadBase64,
    UnknownIssuer,
    AudienceNotAllowed,
    VerificationFails,
    SignatureWrongLength,
    NoValidKeys,
    NoMatchingKey,
    FetchFailed,
    /// The host's own: Envoy bounds only the head of the request.
    TooLarge,
    /// The host's own: RFC 7515 refuses extensions that are not understood; Envoy ignores
    /// them.
    HeaderCritical,
    /// Of Istio 1.2's filter, for a policy that needs a token.
    OriginFailed,
}

impl JwtStatus {
    /// The body of the reply.
    pub fn text(self) -> &'static str {
        match self {
            Self::Missed => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::BadFormat => {
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
            }
            Self::HeaderBadBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderBadJson => "Jwt header is an invalid JSON",
            Self::HeaderBadAlgorithm => "Jwt header [alg] field is required and must be a string",
            Self::HeaderUnsupportedAlgorithm => "Jwt header [alg] is not supported",
            Self::HeaderBadKeyId => "Jwt header [kid] field is not a string",
            Self::PayloadBadBase64 => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadBadJson => "Jwt payload is an invalid JSON",
            Self::IssuerNotString => "Jwt payload [iss] field is not a string",
            Self::SubjectNotString => "Jwt payload [sub] field is not a string",
            Self::IssuedAtNotInteger => "Jwt payload [iat] field is not an integer",
            Self::IssuedAtOutOfRange => "Jwt payload [iat] field is not a positive 64 bit integer",
            Self::NotBeforeNotInteger => "Jwt payload [nbf] field is not an integer",
            Self::NotBeforeOutOfRange => "Jwt payload [nbf] field is not a positive 64 bit integer",
            Self::ExpiryNotInteger => "Jwt payload [exp] field is not an integer",
            Self::ExpiryOutOfRange => "Jwt payload [exp] field is not a positive 64 bit integer",
            Self::IdNotString => "Jwt payload [jti] field is not a string",
            Self::AudienceNotString => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBadBase64 => "Jwt signature is an invalid Base64url encoded",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::AudienceNotAllowed => "Audiences in Jwt are not allowed",
            Self::VerificationFails => "Jwt verification fails",
            Self::SignatureWrongLength => "Jwt ED25519 signature is wrong length",
            Self::NoValidKeys => "Jwks doesn't have any valid public key",
            Self::NoMatchingKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::FetchFailed => "Jwks remote fetch is failed",
            Self::TooLarge => "Jwt is too large",
            Self::HeaderCritical => "Jwt header [crit] is not supported",
            Self::OriginFailed => "Origin authentication failed.",
        }
    }

    /// 403 for an audience that is not allowed, 401 for everything else.
    pub(super) fn reply(self, head: &RequestHead<'_>) -> LocalReply {
        let status = match self {
            Self::AudienceNotAllowed => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        let words = self.text().replace(' ', "_");
        let details = format!("jwt_authn_access_denied{{{words}}}");
        let mut reply = LocalReply::new(status, ResponseFlags::NONE, self.text(), details);
        let error = match self {
            Self::Missed | Self::OriginFailed => "",
            _ => ", error=\"invalid_token\"",
        };
        let challenge = format!("Bearer realm=\"{}\"{error}", realm(head));
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            reply.headers.push((WWW_AUTHENTICATE, challenge));
        }
        reply
    }

    /// Whether another issuer's error says more: the token is absent, or of another issuer.
    pub(super) fn is_of_no_concern(self) -> bool {
        matches!(self, Self::Missed | Self::UnknownIssuer)
    }
}

/// The URL that was requested, before it was rewritten.
fn realm(head: &RequestHead<'_>) -> String {
    let original = head.headers.get("x-envoy-original-path");
    let path = match original.and_then(|path| path.to_str().ok()) {
        Some(original) => original.to_owned(),
        None => match head.query {
            Some(query) => format!("{}?{query}", head.path),
            None => head.path.to_owned(),
        },
    };
    let path: String = path.chars().take(REALM_PATH_BYTES_MAX).collect();
    let url = format!("{}://{}{path}", head.scheme, head.authority);
    // A quote would end the parameter.
    url.replace(['"', '\\'], "")
}
