//! A decision with its reasons: every step that `route` takes, by the same code,
//! with the places in the manifests that it comes from.

mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::model::{AbortStatus, OutlierDetection};
pub use steps::*;

use super::host::{canonical, covers};
use super::listener::{Listener, ListenerServer};
use super::route::{Lookup, no_port, undeclared};
use super::rule::{Action, Block, ClusterChoice, ForwardAction, Rule};
use super::snapshot::Via;
use super::virtual_host::{Matched, VirtualHost};
use crate::{
    Caller, CallerKey, Cluster, LocalReply, OutboundPolicy, PickContext, RequestHead, Snapshot,
    Target,
};

impl Snapshot {
    /// The decision about a request with its reasons, by the same matching
    /// code as [`Snapshot::route`]. `now` tells which endpoints are ejected.
    pub fn explain(
        &self,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
        now: Instant,
    ) -> Explanation {
        let via = self.via(caller, request);
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
            virtual_service: None,
            rules: Vec::new(),
            chosen: None,
            action: "refuse".into(),
            reply: None,
            fault: None,
            timeout: None,
            retries: None,
            destinations: Vec::new(),
            mirrors: Vec::new(),
        };
        match self.lookup(&via, request) {
            Lookup::Host(host) => self.explain_host(&mut explanation, host, &via, request, now),
            Lookup::NotServed => explanation.refuse(&LocalReply::no_route()),
            Lookup::NoPort(host) => {
                explanation.host = Some(host.domain.clone());
                explanation.refuse(&no_port(host, request));
            }
            Lookup::Undeclared => match self.options().outbound_policy {
                OutboundPolicy::AllowAny => {
                    self.explain_host(&mut explanation, self.passthrough(), &via, request, now);
                }
                OutboundPolicy::RegistryOnly => explanation.refuse(&undeclared(request)),
            },
        }
        explanation
    }

    fn explain_host(
        &self,
        explanation: &mut Explanation,
        host: &VirtualHost,
        via: &Via<'_>,
        request: &RequestHead<'_>,
        now: Instant,
    ) {
        explanation.host = Some(host.domain.clone());
        if host.https_redirect {
            explanation.answer("redirect", &self.to_https(request));
            return;
        }
        let context = via.context(request);
        let matched = host.table.find(&context);
        let chosen = matched.as_ref().map(|matched| matched.number);
        explanation.chosen = chosen;
        let rules = host.table.rules.iter().enumerate();
        explanation.rules = rules
            .map(|(number, rule)| RuleStep {
                name: rule.name.clone(),
                object: rule.object.as_deref().map(Reference::from),
                at: rule.at.as_ref().map(Place::from),
                matched: Some(number) == chosen,
                blocks: rule
                    .blocks
                    .iter()
                    .map(|block| block_step(block, &context))
                    .collect(),
            })
            .collect();
        match matched {
            Some(matched) => explanation.explain_rule(&matched, via, request, now),
            None => explanation.refuse(&LocalReply::no_route()),
        }
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

/// Of the servers that serve the host, the one that names it most closely.
fn most_specific<'a>(listener: &'a Listener, host: &str) -> Option<&'a ListenerServer> {
    let serving = listener.servers.iter().filter_map(|server| {
        let hosts = server.hosts.iter().filter(|pattern| covers(pattern, host));
        let closest = hosts
            .map(|pattern| (!pattern.starts_with('*'), pattern.len()))
            .max()?;
        Some((closest, server))
    });
    // The first of equals: `max_by_key` would give the last.
    serving
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, server)| server)
}

fn block_step(block: &Block, context: &super::condition::MatchContext<'_>) -> BlockStep {
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

impl Explanation {
    fn refuse(&mut self, reply: &LocalReply) {
        self.answer("refuse", reply);
    }

    fn answer(&mut self, action: &str, reply: &LocalReply) {
        let location = reply
            .headers
            .iter()
            .find(|(name, _)| *name == http::header::LOCATION);
        self.action = action.into();
        self.reply = Some(ReplyStep {
            status: reply.status.as_u16(),
            flags: reply.flags.to_string(),
            details: reply.details.to_string(),
            location: location.and_then(|(_, value)| value.to_str().ok().map(str::to_owned)),
        });
    }

    fn explain_rule(
        &mut self,
        matched: &Matched<'_>,
        via: &Via<'_>,
        request: &RequestHead<'_>,
        now: Instant,
    ) {
        let rule: &Rule = matched.rule;
        self.virtual_service = rule.object.as_deref().map(Reference::from);
        self.fault = rule.fault.as_ref().map(|fault| FaultStep {
            delay: fault.delay.map(|(delay, _)| text_of(delay)),
            delay_percent: fault.delay.map_or(0.0, |(_, percent)| percent.0),
            abort: fault.abort.map(|(status, _)| match status {
                AbortStatus::Http(code) => code.to_string(),
                AbortStatus::Grpc(code) => format!("grpc {code}"),
            }),
            abort_percent: fault.abort.map_or(0.0, |(_, percent)| percent.0),
        });
        match &rule.action {
            Action::Redirect(redirect) => {
                if let Some(location) = redirect.location(request, via.port, matched.uri()) {
                    self.answer(
                        "redirect",
                        &LocalReply::redirect(redirect.status, &location),
                    );
                }
            }
            Action::Direct { status, body } => {
                let flags = crate::ResponseFlags::NONE;
                let reply = LocalReply::new(*status, flags, body.clone(), "direct_response");
                self.answer("direct response", &reply);
            }
            Action::Forward(action) => {
                self.explain_forward(rule, action, via, now);
                if let Some(reply) = rule.cors.as_ref().and_then(|cors| cors.preflight(request)) {
                    self.answer("preflight", &reply);
                }
            }
        }
    }

    fn explain_forward(
        &mut self,
        rule: &Rule,
        action: &ForwardAction,
        via: &Via<'_>,
        now: Instant,
    ) {
        self.action = "forward".into();
        self.timeout = action.timeout.map(text_of);
        self.retries = Some(RetryStep {
            max_attempts: action.retry.max_attempts,
            retry_on: action.retry.retry_on(),
            per_try_timeout: action.retry.per_try_timeout.map(text_of),
            backoff: text_of(action.retry.backoff),
        });
        let total: u64 = action
            .destinations
            .iter()
            .map(|it| u64::from(it.weight))
            .sum();
        let destinations = action.destinations.iter().map(|destination| {
            let mut step = destination_step(&destination.cluster, via, now);
            step.host.clone_from(&destination.host);
            step.subset.clone_from(&destination.subset);
            step.at = destination.at.as_ref().map(Place::from);
            step.weight = destination.weight;
            step.share = f64::from(destination.weight) / total.max(1) as f64;
            step
        });
        self.destinations = destinations.collect();
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
        // Where all of a rule's destinations are missing, so is the answer.
        if let [only] = self.destinations.as_slice() {
            let reply = match (only.exists, only.endpoints.iter().any(|it| it.eligible)) {
                (false, _) => Some(rule.no_cluster(&only.cluster)),
                (true, false) => Some(LocalReply::no_healthy_upstream()),
                (true, true) => None,
            };
            if let Some(reply) = reply {
                self.answer("forward", &reply);
            }
        }
    }
}

fn destination_step(choice: &ClusterChoice, via: &Via<'_>, now: Instant) -> DestinationStep {
    let mut step = DestinationStep {
        host: String::new(),
        subset: None,
        at: None,
        weight: 0,
        share: 0.0,
        cluster: String::new(),
        exists: false,
        destination_rule: None,
        load_balancer: None,
        limits: None,
        outlier_detection: None,
        endpoints: Vec::new(),
    };
    match choice.for_port(via.port) {
        Err(missing) => step.cluster = missing.to_owned(),
        Ok(cluster) => {
            let (active, pending) = cluster.occupancy(via.caller);
            let limits = cluster.limits();
            step.cluster.clone_from(&cluster.name);
            step.exists = true;
            step.destination_rule = cluster.destination_rule.as_ref().map(Reference::from);
            step.load_balancer = Some(cluster.load_balancer().into());
            step.limits = Some(LimitStep {
                max_requests: limits.requests,
                max_connections: limits.connections,
                max_pending: limits.pending,
                active,
                pending,
            });
            step.outlier_detection = cluster.outlier_detection().map(outlier_text);
            step.endpoints = endpoint_steps(cluster, via.caller, now);
        }
    }
    step
}

fn endpoint_steps(cluster: &Arc<Cluster>, caller: CallerKey, now: Instant) -> Vec<EndpointStep> {
    let client = cluster.client(caller);
    let context = PickContext {
        caller,
        now,
        hash: None,
        tried: &[],
    };
    let panic = cluster.candidates(&client, &context).is_panicking();
    let steps = cluster.endpoints().iter().map(|endpoint| {
        let (ready, ejected) = (
            endpoint.is_ready(),
            cluster.is_ejected(caller, endpoint.id, now),
        );
        let reason = match (ready, ejected, panic) {
            (false, ..) => "not ready",
            (true, false, _) => "ready",
            (true, true, false) => "ejected",
            (true, true, true) => "ejected, but still used since too few are healthy",
        };
        EndpointStep {
            name: endpoint.name.clone(),
            eligible: ready && (panic || !ejected),
            reason: reason.into(),
            workload: endpoint
                .workload
                .as_ref()
                .map(|it| format!("{}/{}", it.namespace, it.name)),
            target: match &endpoint.target {
                Target::Pod { port, .. } => format!("in process, port {port}"),
                Target::Peer { host, port } => format!("another host, {host}:{port}"),
                Target::Remote { host, port } => format!("{host}:{port}"),
                Target::Requested => "as requested".into(),
            },
            active_requests: cluster.active_requests(caller, endpoint.id),
        }
    });
    steps.collect()
}

/// `5 consecutive 5xx, out for 30s, at most 10 %`.
fn outlier_text(detection: &OutlierDetection) -> String {
    let limits = [
        (detection.consecutive_5xx, "consecutive 5xx"),
        (
            detection.consecutive_gateway_errors,
            "consecutive gateway errors",
        ),
    ];
    let limits = limits
        .iter()
        .filter_map(|(limit, name)| Some(format!("{} {name}", (*limit)?)));
    format!(
        "{}, out for {}, at most {} %",
        limits.collect::<Vec<_>>().join(" or "),
        text_of(detection.base_ejection_time),
        detection.max_ejection_percent
    )
}

/// `1.5s`, `25ms`.
fn text_of(duration: Duration) -> String {
    format!("{duration:?}")
}
