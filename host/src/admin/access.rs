//! Authorization: a bearer token, on a connection that no web page opened.
//!
//! Tokens have 256 bits and are compared in constant time. A valid token always passes,
//! so that guessing cannot lock out the owner. Wrong tokens are limited: beyond a few per
//! second the response is 429.

use std::net::IpAddr;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::identity::Identity;
use super::kind;

/// Wrong tokens that are answered with 401 in a burst, and how many per second.
const GUESSES: f64 = 20.0;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Full,
    /// Reads everything but Secrets, like Kubernetes' role `view`.
    ReadOnly,
}

/// See the module's documentation.
pub(super) struct Guard {
    token: String,
    read_only_token: String,
    guesses: Mutex<Guesses>,
}

struct Guesses {
    left: f64,
    at: Instant,
}

impl Guard {
    pub(super) fn new(identity: &Identity) -> Self {
        Self {
            token: identity.token.clone(),
            read_only_token: identity.read_only_token.clone(),
            guesses: Mutex::new(Guesses {
                left: GUESSES,
                at: Instant::now(),
            }),
        }
    }

    /// What the sender of a request is allowed to do.
    ///
    /// # Errors
    /// 401 without a valid token, 429 after too many wrong ones, 403 if a web page may
    /// have sent the request.
    pub(super) fn admit(&self, request: &Parts) -> Result<Access, Failure> {
        check_host(request)?;
        check_origin(&request.headers)?;
        let Some(token) = bearer(&request.headers) else {
            return Err(Failure::Unauthorized);
        };
        let is = |known: &str| bool::from(known.as_bytes().ct_eq(token.as_bytes()));
        match (is(&self.token), is(&self.read_only_token)) {
            (true, _) => Ok(Access::Full),
            (_, true) => Ok(Access::ReadOnly),
            _ => Err(self.reject(Instant::now())),
        }
    }

    fn reject(&self, now: Instant) -> Failure {
        let mut guesses = self.guesses.lock();
        let passed = now.saturating_duration_since(guesses.at).as_secs_f64();
        guesses.left = (guesses.left + passed * GUESSES).min(GUESSES);
        guesses.at = now;
        if guesses.left < 1.0 {
            return Failure::TooManyGuesses;
        }
        guesses.left -= 1.0;
        Failure::Unauthorized
    }
}

impl Access {
    /// Whether objects of `resource` may be read or changed.
    pub(super) fn allows(self, reads: bool, resource: &str) -> bool {
        self == Self::Full || reads && !is_confidential(resource)
    }

    /// What `kubectl auth whoami` shows.
    pub(super) fn user(self) -> &'static str {
        match self {
            Self::Full => "galleria:full",
            Self::ReadOnly => "galleria:read-only",
        }
    }

    /// # Errors
    /// 403.
    pub(super) fn check(self, method: &Method, resource: &str) -> Result<(), Failure> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if self.allows(reads, resource) {
            return Ok(());
        }
        Err(Failure::Forbidden(format!(
            "{resource} is forbidden: the read-only token allows reading everything but Secrets"
        )))
    }
}

/// Whether `resource`, a plural with or without its group, is for the full token alone.
pub(super) fn is_confidential(resource: &str) -> bool {
    let plural = resource.split('.').next();
    kind::served().any(|kind| kind.is_confidential && plural == Some(kind.plural))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Accepts an address or `localhost`: with DNS rebinding, a web page would reach this port
/// by another name.
fn check_host(request: &Parts) -> Result<(), Failure> {
    let header = || request.headers.get(header::HOST)?.to_str().ok();
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    let named: Option<http::uri::Authority> =
        authority.or_else(header).and_then(|host| host.parse().ok());
    let is_own = named.is_some_and(|named| {
        let host = named.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    });
    match is_own {
        true => Ok(()),
        false => Err(Failure::Forbidden(
            "the Host header must be an address of this host, or localhost".into(),
        )),
    }
}

/// Browsers send `Origin` with requests of other pages; kubectl never does.
fn check_origin(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.contains_key(header::ORIGIN) {
        false => Ok(()),
        true => Err(Failure::Forbidden(
            "web pages must not call this API".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(&Identity {
            certificate: String::new(),
            key: String::new(),
            token: "full".into(),
            read_only_token: "read".into(),
        })
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::get("/api");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn admit(guard: &Guard, token: &str) -> Result<Access, Failure> {
        guard.admit(&request(&[
            ("host", "127.0.0.1:1"),
            ("authorization", token),
        ]))
    }

    #[test]
    fn a_token_decides_what_is_allowed() {
        let guard = guard();
        assert_eq!(admit(&guard, "Bearer full"), Ok(Access::Full));
        assert_eq!(admit(&guard, "bearer  read"), Ok(Access::ReadOnly));
        for wrong in ["Bearer ful", "Bearer ", "Basic full", "full"] {
            assert_eq!(admit(&guard, wrong), Err(Failure::Unauthorized), "{wrong}");
        }
        assert!(Access::Full.check(&Method::DELETE, "secrets").is_ok());
        assert!(Access::ReadOnly.check(&Method::GET, "pods").is_ok());
        assert!(Access::ReadOnly.check(&Method::GET, "secrets").is_err());
        assert!(Access::ReadOnly.check(&Method::PATCH, "pods").is_err());
    }

    #[test]
    fn guessing_is_limited_and_does_not_lock_out_the_owner() {
        let guard = guard();
        let failures: Vec<_> = (0..100).map(|_| admit(&guard, "Bearer x")).collect();
        assert_eq!(failures.first(), Some(&Err(Failure::Unauthorized)));
        assert_eq!(failures.last(), Some(&Err(Failure::TooManyGuesses)));
        assert_eq!(admit(&guard, "Bearer full"), Ok(Access::Full));
    }

    #[test]
    fn requests_of_web_pages_are_refused() {
        let guard = guard();
        let token = ("authorization", "Bearer full");
        for host in ["evil.example", "127.0.0.1.evil.example:15000", ""] {
            let failure = guard.admit(&request(&[("host", host), token]));
            assert!(matches!(failure, Err(Failure::Forbidden(_))), "{host}");
        }
        for host in ["localhost:15000", "[::1]:15000", "10.0.0.7"] {
            let admitted = guard.admit(&request(&[("host", host), token]));
            assert_eq!(admitted, Ok(Access::Full), "{host}");
        }
        let page = request(&[
            ("host", "localhost"),
            ("origin", "https://localhost"),
            token,
        ]);
        assert!(matches!(guard.admit(&page), Err(Failure::Forbidden(_))));
    }
}
