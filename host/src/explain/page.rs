//! The explanation as a page of text.

mod authentication;
mod authorization;

use std::fmt::Write;

use galleria_mesh::{
    BlockStep, DestinationStep, Explanation, ListenerStep, Place, Reference, ReplyStep, RuleStep,
};

use super::ask::{From, ParsedQuestion};
use super::places::Places;

/// The column in which positions start, if the text is shorter.
const PLACE_COLUMN: usize = 76;

/// The page that `galleria explain` prints.
pub(super) fn render(
    question: &ParsedQuestion,
    explanation: &Explanation,
    places: &Places,
) -> String {
    let mut page = Page::default();
    page.request(question, explanation);
    if explanation.token.is_some() || explanation.authorization.is_some() {
        page.heading("GATEWAY");
    }
    if let Some(step) = &explanation.token {
        page.token(1, step);
    }
    if let Some(step) = &explanation.authorization {
        page.authorization(1, step);
    }
    page.rules(explanation);
    page.treatment(explanation);
    for (number, destination) in explanation.destinations.iter().enumerate() {
        page.destination(number, destination, places);
    }
    for mirror in &explanation.mirrors {
        let missing = if mirror.exists {
            ""
        } else {
            ", which is not there"
        };
        page.line(
            1,
            &format!("mirror {} % to {}{missing}", mirror.percent, mirror.cluster),
            None,
        );
    }
    page.answer(explanation);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, text: &str, at: Option<&Place>) {
        let text = format!("{}{text}", "  ".repeat(depth));
        // Writing to a string cannot fail.
        let _ = match at {
            None => writeln!(self.0, "{text}"),
            // An object from the API, which has no lines.
            Some(Place { file, line: 0, .. }) => writeln!(self.0, "{text:<PLACE_COLUMN$}  {file}"),
            Some(Place { file, line, .. }) => {
                writeln!(self.0, "{text:<PLACE_COLUMN$}  {file}:{line}")
            }
        };
    }

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "\n{text}");
    }

    fn request(&mut self, question: &ParsedQuestion, explanation: &Explanation) {
        let from = match &question.from {
            From::Edge { .. } => "a client outside",
            From::Workload(_) => explanation.caller.as_str(),
        };
        self.line(
            0,
            &format!("{} {} from {from}", question.method, question.uri),
            None,
        );
        if explanation.path != question.uri.path() {
            let path = &explanation.path;
            self.line(1, &format!("every rule sees its path as {path}"), None);
        }
        self.heading("WAY IN");
        match &explanation.listener {
            Some(listener) => self.listener(listener),
            None => self.line(1, "from inside the mesh, not through a gateway", None),
        }
        match &explanation.host {
            Some(host) => self.line(1, &format!("host {host}"), None),
            // Then no server of a gateway serves the host.
            None if explanation.listener.is_some() => {}
            None => {
                let authority = &explanation.authority;
                self.line(
                    1,
                    &format!("no Service or ServiceEntry declares the host {authority}"),
                    None,
                );
            }
        }
    }

    fn listener(&mut self, listener: &ListenerStep) {
        let port = listener.port;
        let Some(gateway) = &listener.gateway else {
            self.line(
                1,
                &format!("port {port}: no server of a gateway serves this host there"),
                None,
            );
            return;
        };
        let server = listener.server_name.as_deref().unwrap_or("without a name");
        self.line(
            1,
            &format!("{}, port {port}, server {server}", reference(gateway)),
            listener.server.as_ref(),
        );
    }

    fn rules(&mut self, explanation: &Explanation) {
        if explanation.rules.is_empty() {
            return;
        }
        self.heading("RULES, in order; the first match wins");
        let mut object = None;
        for (number, rule) in explanation.rules.iter().enumerate() {
            if rule.object.is_some() && rule.object != object {
                object.clone_from(&rule.object);
                if let Some(object) = &object {
                    self.line(1, &reference(object), Some(&object.at));
                }
            }
            let late = explanation.chosen.is_some_and(|chosen| number > chosen);
            self.rule(number + 1, rule, late);
        }
    }

    fn rule(&mut self, number: usize, rule: &RuleStep, late: bool) {
        let name = match rule.name.as_str() {
            "" | "default" => String::new(),
            name => format!(" `{name}`"),
        };
        let verdict = match (late, rule.matched) {
            (true, _) => "not checked: earlier rule matched",
            (false, true) => "MATCHES",
            (false, false) => "does not match",
        };
        let text = format!("rule {number}{name}: {verdict}");
        self.line(1, &text, rule.at.as_ref());
        if late {
            return;
        }
        if rule.blocks.is_empty() {
            self.line(2, "it has no conditions", None);
        }
        for block in &rule.blocks {
            self.block(block, rule.blocks.len() > 1);
        }
    }

    fn block(&mut self, block: &BlockStep, alternative: bool) {
        if alternative {
            let verdict = if block.matched {
                "fits"
            } else {
                "does not fit"
            };
            let text = format!("either: {verdict}");
            self.line(2, &text, block.at.as_ref());
        }
        self.conditions(if alternative { 3 } else { 2 }, &block.conditions);
    }

    /// What the rule does in addition to routing the request.
    fn treatment(&mut self, explanation: &Explanation) {
        if explanation.action != "forward" {
            return;
        }
        self.heading("TREATMENT");
        match &explanation.fault {
            None => self.line(1, "fault: none", None),
            Some(fault) => {
                if let Some(delay) = &fault.delay {
                    let percent = fault.delay_percent;
                    self.line(1, &format!("fault: {percent} % delayed by {delay}"), None);
                }
                if let Some(abort) = &fault.abort {
                    let percent = fault.abort_percent;
                    self.line(1, &format!("fault: {percent} % aborted with {abort}"), None);
                }
            }
        }
        let timeout = explanation.timeout.as_deref().unwrap_or("none");
        self.line(1, &format!("timeout: {timeout}"), None);
        match explanation.retries.as_ref() {
            Some(retries) if retries.max_attempts > 1 => {
                let per_try = match &retries.per_try_timeout {
                    Some(limit) => format!(", {limit} each"),
                    None => String::new(),
                };
                let text = format!(
                    "retries: up to {} tries{per_try}, on {}, pausing from {}",
                    retries.max_attempts, retries.retry_on, retries.backoff
                );
                self.line(1, &text, None);
            }
            _ => self.line(1, "retries: none", None),
        }
        self.heading("DESTINATIONS");
    }

    fn destination(&mut self, number: usize, destination: &DestinationStep, places: &Places) {
        let share = destination.share * 100.0;
        let text = format!("{share:.0} % to {}", destination.host);
        self.line(1, &text, destination.at.as_ref());
        if let Some(subset) = &destination.subset {
            self.line(2, &format!("subset {subset}"), places.subset(destination));
        }
        if !destination.exists {
            let text = format!("{} is not there", destination.cluster);
            self.line(2, &text, None);
            return;
        }
        if let Some(rule) = &destination.destination_rule {
            self.line(2, &reference(rule), Some(&rule.at));
        }
        let balancer = destination.load_balancer.as_deref().unwrap_or("none");
        self.line(2, &format!("balanced by {balancer}"), None);
        if let Some(detection) = &destination.outlier_detection {
            self.line(2, &format!("ejected after {detection}"), None);
        }
        if destination.endpoints.is_empty() {
            self.line(2, "no endpoint", None);
        }
        for endpoint in &destination.endpoints {
            let sign = if endpoint.eligible { "yes" } else { "no " };
            let text = format!(
                "{sign} {} ({}): {}",
                endpoint.name, endpoint.target, endpoint.reason
            );
            self.line(2, &text, places.endpoint(endpoint));
            for step in &endpoint.network {
                let sign = if step.allowed { "yes" } else { "no " };
                let text = format!("{sign} {}", step.message);
                self.line(3, &text, Some(&step.policy.at));
            }
        }
        for step in &destination.authentication {
            self.authentication(2, step);
        }
        for step in &destination.authorization {
            self.authorization(2, step);
        }
        for pod in places.left_out(number) {
            let text = format!("no  {}: {}", pod.name, pod.reason);
            self.line(2, &text, Some(&pod.at));
        }
    }

    fn answer(&mut self, explanation: &Explanation) {
        let Some(reply) = &explanation.reply else {
            return;
        };
        let ReplyStep {
            status,
            flags,
            details,
            location,
        } = reply;
        self.heading("RESPONSE, from the mesh itself");
        let flags = match flags.as_str() {
            "" | "-" => String::new(),
            flags => format!(" {flags}"),
        };
        let text = format!("{status}{flags}: {}, {details}", explanation.action);
        self.line(1, &text, None);
        if let Some(location) = location {
            self.line(1, &format!("location: {location}"), None);
        }
    }
}

/// `VirtualService shop/routes`.
fn reference(reference: &Reference) -> String {
    let Reference {
        kind,
        namespace,
        name,
        ..
    } = reference;
    format!("{kind} {namespace}/{name}")
}
