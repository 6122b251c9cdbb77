//! The pull requests of the OCI distribution protocol: manifests, blobs, and the login that
//! a registry requires.
//!
//! The size of every response is limited, regardless of its `content-length`. The caller
//! checks the content against its digest.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_auth::ChallengeParser;
use oci_spec::image::Digest;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::credentials::Login;

/// The largest response of a token service, in bytes. A token with many scopes has a few
/// kilobytes.
const TOKEN_MAX: u64 = 256 << 10;

/// One repository of a registry, accessed as one user.
pub(super) struct Repository {
    http: reqwest::Client,
    /// `https://HOST/v2/REPOSITORY`.
    url: String,
    name: String,
    login: Option<Login>,
    /// The `authorization` header. The registry is asked once which one it requires.
    authorization: OnceCell<HeaderValue>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DistributionError {
    /// Without the URL: a redirect's URL may contain a signature.
    #[error("there is no answer")]
    Request(#[source] reqwest::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("its {what} exceeds the limit of {max} bytes")]
    TooLong { what: &'static str, max: u64 },
    #[error("its token service returned no token")]
    Token,
}

impl From<reqwest::Error> for DistributionError {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error.without_url())
    }
}

/// `WWW-Authenticate: Bearer …`: the service that issues tokens.
struct TokenService {
    realm: Url,
    service: Option<String>,
}

impl Repository {
    /// `origin` is `https://HOST`.
    pub(super) fn new(
        http: reqwest::Client,
        origin: &str,
        name: &str,
        login: Option<Login>,
    ) -> Self {
        Self {
            http,
            url: format!("{origin}/v2/{name}"),
            name: name.to_owned(),
            login,
            authorization: OnceCell::new(),
        }
    }

    /// Fetches a manifest. `reference` is a tag or a digest.
    pub(super) async fn manifest(
        &self,
        reference: &str,
        accept: &str,
        max: u64,
    ) -> Result<Bytes, DistributionError> {
        let url = format!("{}/manifests/{reference}", self.url);
        let answer = self.get(&url, accept).await?;
        read(answer, "manifest", max).await
    }

    /// Starts to fetch a blob.
    pub(super) async fn blob(&self, digest: &Digest) -> Result<Response, DistributionError> {
        let url = format!("{}/blobs/{digest}", self.url);
        self.get(&url, "*/*").await
    }

    /// The first request is anonymous, because only the response says what is required.
    async fn get(&self, url: &str, accept: &str) -> Result<Response, DistributionError> {
        let mut answer = self.ask(url, accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && !self.authorization.initialized() {
            let authorize = || self.authorize(answer.headers());
            self.authorization.get_or_try_init(authorize).await?;
            answer = self.ask(url, accept).await?;
        }
        good(answer)
    }

    async fn ask(&self, url: &str, accept: &str) -> Result<Response, DistributionError> {
        let mut request = self.http.get(url).header(ACCEPT, accept);
        if let Some(authorization) = self.authorization.get() {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        Ok(request.send().await?)
    }

    /// The `authorization` header for the challenge in `headers`: a token, or the login.
    async fn authorize(&self, headers: &HeaderMap) -> Result<HeaderValue, DistributionError> {
        let refused = DistributionError::Status(StatusCode::UNAUTHORIZED);
        let authorization = match (token_service(headers), &self.login) {
            (Some(service), _) => format!("Bearer {}", self.token(service).await?),
            (None, Some(login)) => {
                let login = format!("{}:{}", login.username, login.password);
                format!("Basic {}", BASE64_STANDARD.encode(login))
            }
            (None, None) => return Err(refused),
        };
        let mut value = HeaderValue::try_from(authorization).map_err(|_| refused)?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn token(&self, service: TokenService) -> Result<String, DistributionError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let TokenService { mut realm, service } = service;
        let scope = format!("repository:{}:pull", self.name);
        realm.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        let mut request = self.http.get(realm);
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.username, Some(&login.password));
        }
        let answer = read(good(request.send().await?)?, "token", TOKEN_MAX).await?;
        let answer = serde_json::from_slice::<Answer>(&answer).ok();
        answer
            .and_then(|answer| answer.token.or(answer.access_token))
            .ok_or(DistributionError::Token)
    }
}

fn good(answer: Response) -> Result<Response, DistributionError> {
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(DistributionError::Status(status)),
    }
}

/// Reads the body, at most `max` bytes.
async fn read(
    mut answer: Response,
    what: &'static str,
    max: u64,
) -> Result<Bytes, DistributionError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = answer.chunk().await? {
        if (bytes.len() + piece.len()) as u64 > max {
            return Err(DistributionError::TooLong { what, max });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn token_service(headers: &HeaderMap) -> Option<TokenService> {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    challenges
        .filter_map(|challenges| challenges.to_str().ok())
        .flat_map(|challenges| ChallengeParser::new(challenges).map_while(Result::ok))
        .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))
        .find_map(|challenge| {
            let parameter = |wanted: &str| {
                let mut parameters = challenge.params.iter();
                let found = parameters.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(TokenService {
                realm: Url::parse(&parameter("realm")?).ok()?,
                service: parameter("service"),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(challenge: &'static str) -> Option<(String, Option<String>)> {
        let header = HeaderValue::from_static(challenge);
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, header)]);
        token_service(&headers).map(|found| (found.realm.to_string(), found.service))
    }

    #[test]
    fn token_service_is_read_from_the_challenge() {
        let challenge =
            r#"Bearer realm="https://auth.example/token?a=b",service="r",scope="x:y:pull""#;
        let realm = "https://auth.example/token?a=b".to_owned();
        assert_eq!(service(challenge), Some((realm, Some("r".to_owned()))));
        let both = r#"Basic realm="r", bearer realm="https://auth.example/""#;
        let realm = "https://auth.example/".to_owned();
        assert_eq!(service(both), Some((realm, None)));
    }

    #[test]
    fn other_challenges_have_no_token_service() {
        for challenge in [
            r#"Basic realm="r""#,
            "Bearer",
            "Bearer realm=nowhere",
            "=,=",
        ] {
            assert_eq!(service(challenge), None, "{challenge}");
        }
    }
}
