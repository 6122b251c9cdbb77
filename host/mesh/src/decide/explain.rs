//! A decision with its reasons, and the places in the manifests that they come from.
//!
//! The steps are those of [`Snapshot::decide`], by the same functions; nothing of a decision
//! is repeated here. Of what is random, an explanation shows every case with its share.

mod authentication;
mod authorization;
mod destination;
mod network;
mod steps;

use std::time::{Duration, Instant};

use galleria_manifest::model::AbortStatus;

use super::condition::MatchContext;
use super::fault::Fault;
use super::host::{canonical, covers};
use super::listener::{Listener, ListenerServer};
use super::route::{OwnReply, ReplyReason, Resolution, Timeouts};
use super::rule::{Block, ForwardAction, Rule};
use super::snapshot::Via;
use super::virtual_host::RouteMatch;
use crate::inbound::jwt::TokenTime;
use crate::{Caller, LocalReply, RequestHead, Snapshot};
use authorization::InboundSide;
pub(crate) use authorization::attribute_name;
use destination::destination_step;
use network::NetworkExplanation;
pub use steps::*;

impl Snapshot {
    /// The decision about a request with its reasons. `time` decides which endpoints are
    /// ejected and which tokens have expired.
    pub fn explain(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        time: TokenTime,
    ) -> Explanation {
        let now = time.monotonic;
        let via = self.via(caller, request);
        let (token, authorization) = self.gateway_steps(&via, request, time);
        let mut explanation = Explanation {
            caller: via.workload.map_or_else(
                || "edge".into(),
                |it| format!("{}/{}", it.namespace, it.name),
            ),
            method: request.method.to_string(),
            authority: request.authority.to_owned(),
            path: request.path.to_owned(),
            listener: via
                .workload
                .is_none()
                .then(|| self.listener_step(via.port, request)),
            host: None,
            token,
            authorization,
            virtual_service: None,
            rules: Vec::new(),
            chosen: None,
            action: String::new(),
            reply: None,
            fault: None,
            timeout: None,
            retries: None,
            destinations: Vec::new(),
            mirrors: Vec::new(),
        };
        let resolution = self.resolve(&via, request);
        explanation.explain_host(&resolution, &via.context(request));
        match &resolution.result {
            Ok(matched) => {
                let network = NetworkExplanation::new(self, caller, request);
                explanation.explain_rule(matched, &via, request, now, &network);
                let inbound = InboundSide {
                    matched,
                    via: &via,
                    caller,
                    request,
                    time,
                };
                self.explain_inbound(&inbound, &mut explanation);
            }
            Err(own) => explanation.answer(own),
        }
        explanation.denied_at_gateway();
        explanation
    }

    fn listener_step(&self, port: u16, request: &RequestHead<'_>) -> ListenerStep {
        let host = canonical(request.host());
        let listener = self
            .listeners()
            .iter()
            .find(|listener| listener.port == port);
        let server = listener.and_then(|listener| most_specific(listener, &host));
        ListenerStep {
            port,
            gateway: server.map(|server| Reference::from(&server.gateway)),
            server: server.map(|server| Place::from(&server.at)),
            server_name: server.and_then(|server| server.name.clone()),
            https_redirect: server.is_some_and(|server| server.https_redirect),
        }
    }
}

/// The server of the listener whose hosts name this one most specifically.
fn most_specific<'a>(listener: &'a Listener, host: &str) -> Option<&'a ListenerServer> {
    let serving = listener.servers.iter().filter_map(|server| {
        let hosts = server.hosts.iter().filter(|pattern| covers(pattern, host));
        let closest = hosts
            .map(|pattern| (!pattern.starts_with('*'), pattern.len()))
            .max()?;
        Some((closest, server))
    });
    // The first of equals: `max_by_key` would return the last.
    serving
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, server)| server)
}

impl Explanation {
    fn explain_host(&mut self, resolution: &Resolution<'_>, context: &MatchContext<'_>) {
        self.host = resolution.host.map(|host| host.domain.clone());
        self.chosen = resolution.result.as_ref().ok().map(|it| it.number);
        let rules = resolution.rules.iter().enumerate();
        let steps = rules.map(|(number, rule)| RuleStep {
            name: rule.name.clone(),
            object: rule.object.as_deref().map(Reference::from),
            at: rule.at.as_ref().map(Place::from),
            matched: Some(number) == self.chosen,
            blocks: rule
                .blocks
                .iter()
                .map(|block| block_step(block, context))
                .collect(),
        });
        self.rules = steps.collect();
    }

    fn explain_rule(
        &mut self,
        matched: &RouteMatch<'_>,
        via: &Via<'_>,
        request: &RequestHead<'_>,
        now: Instant,
        network: &NetworkExplanation<'_>,
    ) {
        let rule: &Rule = matched.rule;
        self.virtual_service = rule.object.as_deref().map(Reference::from);
        self.fault = rule.fault.as_ref().map(fault_step);
        if let Some(action) = rule.forward_action() {
            self.explain_forward(matched, action, via, request, now, network);
        }
        if let Some(own) = matched.own_reply(via, request) {
            self.answer(&own);
        }
    }

    fn explain_forward(
        &mut self,
        matched: &RouteMatch<'_>,
        action: &ForwardAction,
        via: &Via<'_>,
        request: &RequestHead<'_>,
        now: Instant,
        network: &NetworkExplanation<'_>,
    ) {
        let timeouts = Timeouts::of(action, via, request);
        let policy = matched.rule.retry_policy();
        self.action = "forward".into();
        self.timeout = timeouts.route.map(text_of);
        self.retries = Some(RetryStep {
            max_attempts: policy.max_attempts,
            retry_on: policy.retry_on(),
            per_try_timeout: timeouts.per_try.map(text_of),
            backoff: text_of(policy.backoff),
        });
        let total: u64 = action
            .destinations
            .iter()
            .map(|it| u64::from(it.weight))
            .sum();
        let mut replies = Vec::new();
        for (number, destination) in action.destinations.iter().enumerate() {
            let mut step = destination_step(&destination.cluster, via, now, network);
            step.host.clone_from(&destination.host);
            step.subset.clone_from(&destination.subset);
            step.at = destination.at.as_ref().map(Place::from);
            step.weight = destination.weight;
            step.share = f64::from(destination.weight) / total.max(1) as f64;
            replies.extend(match matched.forward(number, via, request) {
                Err(reply) => Some(reply),
                Ok(_) => reply_without_endpoint(&step.endpoints),
            });
            self.destinations.push(step);
        }
        let mirrors = action.mirrors.iter().map(|(choice, percent)| {
            let (cluster, exists) = match choice.for_port(via.port) {
                Ok(cluster) => (cluster.name.clone(), true),
                Err(missing) => (missing.to_owned(), false),
            };
            MirrorStep {
                cluster,
                exists,
                percent: percent.0,
            }
        });
        self.mirrors = mirrors.collect();
        // Where no destination can take the request, the answer is certain.
        if let Some(reply) = replies.first()
            && replies.len() == action.destinations.len()
        {
            self.reply = Some(reply_step(reply));
        }
    }

    fn answer(&mut self, own: &OwnReply) {
        self.action = match own.reason {
            ReplyReason::Refused => "refuse",
            ReplyReason::Redirect => "redirect",
            ReplyReason::DirectResponse => "direct response",
            ReplyReason::Preflight => "preflight",
        }
        .into();
        self.reply = Some(reply_step(&own.reply));
    }
}

/// The reply if no endpoint can take the request: none is eligible, or NetworkPolicies deny
/// the connections to all that are.
fn reply_without_endpoint(endpoints: &[EndpointStep]) -> Option<LocalReply> {
    let mut denied = None;
    for endpoint in endpoints.iter().filter(|it| it.eligible) {
        let mut network = endpoint.network.iter();
        denied = Some(network.find(|it| !it.allowed)?);
    }
    Some(match denied {
        None => LocalReply::no_healthy_upstream(),
        Some(step) => LocalReply::network_policy_denied(step.details.clone().unwrap_or_default()),
    })
}

fn block_step(block: &Block, context: &MatchContext<'_>) -> BlockStep {
    let conditions = block.conditions.iter().map(|condition| ConditionStep {
        field: condition.field().into_owned(),
        expected: condition.expected(),
        actual: condition.actual(context),
        matched: condition.holds(context),
    });
    BlockStep {
        at: block.at.as_ref().map(Place::from),
        matched: block.holds(context),
        conditions: conditions.collect(),
    }
}

fn fault_step(fault: &Fault) -> FaultStep {
    FaultStep {
        delay: fault.delay.map(|(delay, _)| text_of(delay)),
        delay_percent: fault.delay.map_or(0.0, |(_, percent)| percent.0),
        abort: fault.abort.map(|(status, _)| match status {
            AbortStatus::Http(code) => code.to_string(),
            AbortStatus::Grpc(code) => format!("grpc {code}"),
        }),
        abort_percent: fault.abort.map_or(0.0, |(_, percent)| percent.0),
    }
}

fn reply_step(reply: &LocalReply) -> ReplyStep {
    let location = reply
        .headers
        .iter()
        .find(|(name, _)| *name == http::header::LOCATION);
    ReplyStep {
        status: reply.status.as_u16(),
        flags: reply.flags.to_string(),
        details: reply.details.to_string(),
        location: location.and_then(|(_, value)| value.to_str().ok().map(str::to_owned)),
    }
}

/// `1.5s`, `25ms`.
fn text_of(duration: Duration) -> String {
    format!("{duration:?}")
}
