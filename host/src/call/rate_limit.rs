//! Applies rate limits: takes the tokens of local limits, and asks the services of global ones
//! by the protocol of `envoyproxy/ratelimit`.

mod messages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_mesh as mesh;
use galleria_mesh::LocalReply;
use galleria_mesh::rate_limit::{
    Decision, Granted, LimitHeaders, LimitStatus, LimitedRequest, Question, RateLimits,
};

use self::messages::{Descriptor, Entry, RateLimitRequest, RateLimitResponse};
use super::CallScope;
use super::provider_call::{GrpcError, HeaderMessage, unary};
use crate::causes::with_causes;
use crate::telemetry::metrics::{DecisionKind, DecisionResult};

const METHOD: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// `OVER_LIMIT`
const OVER_LIMIT: i32 = 2;

/// Why a service gave no decision.
#[derive(Debug, thiserror::Error)]
enum LimitError {
    #[error("nothing declares it")]
    NotDeclared,
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

/// Applies the limits of `workload` to a request.
///
/// # Errors
/// The reply for a request over a limit.
pub(super) async fn take(
    scope: &CallScope<'_>,
    limits: &RateLimits,
    request: &LimitedRequest<'_>,
    workload: &Arc<mesh::Workload>,
) -> Result<Granted, LocalReply> {
    let mut granted = Granted {
        response: limits.take(request, Instant::now(), &mut rand::rng())?,
        ..Granted::default()
    };
    for question in limits.questions(request) {
        let answer = ask(scope, &question, workload).await;
        let result = match &answer {
            Ok(decision) if decision.is_over_limit => DecisionResult::Denied,
            Ok(_) => DecisionResult::Ok,
            Err(_) => DecisionResult::Error,
        };
        let decisions = &scope.mesh.metrics.decisions;
        decisions.count(DecisionKind::RateLimit, &question.limit.domain, result);
        let answered = match answer {
            Ok(decision) => question.limit.decided(decision)?,
            Err(error) => {
                let cause = with_causes(&error);
                let domain = question.limit.domain.as_str();
                tracing::debug!(
                    domain,
                    cause,
                    "the service of rate limits gives no decision"
                );
                question.limit.failed()?
            }
        };
        granted.request.extend(answered.request);
        granted.response.extend(answered.response);
    }
    Ok(granted)
}

async fn ask(
    scope: &CallScope<'_>,
    question: &Question<'_>,
    workload: &Arc<mesh::Workload>,
) -> Result<Decision, LimitError> {
    let limit = question.limit;
    let authority = limit.authority.as_deref();
    let authority = authority.ok_or(LimitError::NotDeclared)?;
    let message = message(question);
    let answer = unary(
        scope,
        workload,
        (authority, METHOD),
        &message,
        limit.timeout,
    );
    Ok(decision(answer.await?))
}

fn message(question: &Question<'_>) -> RateLimitRequest {
    let descriptors = question.descriptors.iter().map(|descriptor| {
        let entries = descriptor.iter().map(|(key, value)| Entry {
            key: key.clone(),
            value: value.clone(),
        });
        Descriptor {
            entries: entries.collect(),
        }
    });
    RateLimitRequest {
        domain: question.limit.domain.clone(),
        descriptors: descriptors.collect(),
    }
}

fn decision(answer: RateLimitResponse) -> Decision {
    let statuses = answer.statuses.iter().filter_map(|status| {
        let limit = status.current_limit.as_ref()?;
        let reset = status.duration_until_reset.as_ref();
        let reset = reset.and_then(|reset| u64::try_from(reset.seconds).ok());
        Some(LimitStatus {
            requests_per_unit: limit.requests_per_unit,
            unit: unit(limit.unit),
            remaining: status.limit_remaining,
            reset: Duration::from_secs(reset.unwrap_or(0)),
        })
    });
    Decision {
        is_over_limit: answer.overall_code == OVER_LIMIT,
        statuses: statuses.collect(),
        response_headers: headers(&answer.response_headers_to_add),
        request_headers: headers(&answer.request_headers_to_add),
        body: answer.raw_body.into(),
    }
}

/// Second, minute, hour, day, month, year.
fn unit(unit: i32) -> Duration {
    let days = |days: u64| days * 24 * 3600;
    Duration::from_secs(match unit {
        1 => 1,
        2 => 60,
        3 => 3600,
        4 => days(1),
        5 => days(30),
        6 => days(365),
        _ => 0,
    })
}

/// Those that can be sent.
fn headers(headers: &[HeaderMessage]) -> LimitHeaders {
    let headers = headers.iter().filter_map(HeaderMessage::read);
    let framing = ["connection", "content-length", "host", "transfer-encoding"];
    headers
        .filter(|(name, _)| !framing.contains(&name.as_str()))
        .collect()
}
