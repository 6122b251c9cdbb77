//! What was compared, and what differs.

use std::collections::BTreeMap;

use super::case::Case;
use super::differences::{ACCEPTED, Difference, Pair};
use super::outcome::Outcome;

/// See the module's documentation. Differences are printed as they are found.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    /// The number of differences to print.
    show: usize,
    cases: usize,
    objects: usize,
    /// By the reason of `galleria-manifest`.
    refused: BTreeMap<String, usize>,
    requests: usize,
    /// By what Istio's answer is.
    answers: BTreeMap<String, usize>,
    /// By the name of the accepted difference.
    accepted: BTreeMap<&'static str, usize>,
    /// Those that are not accepted.
    pub(super) differences: usize,
}

impl Report {
    pub(super) fn new(seed: u64, show: usize) -> Self {
        Self {
            seed,
            show,
            cases: 0,
            objects: 0,
            refused: BTreeMap::new(),
            requests: 0,
            answers: BTreeMap::new(),
            accepted: BTreeMap::new(),
            differences: 0,
        }
    }

    pub(super) fn case(&mut self, case: &Case) {
        self.cases += 1;
        self.objects += case.istio.len();
    }

    pub(super) fn refused_by_both(&mut self, reason: &str) {
        // Without the place, the object and the field.
        let reason = reason.lines().next().unwrap_or_default();
        let reason = reason.splitn(5, ": ").last().unwrap_or_default();
        *self.refused.entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn request(&mut self, theirs: &Outcome) {
        self.requests += 1;
        let answer = match (theirs.cluster.as_str(), theirs.status) {
            ("", 0) => "nothing listens".to_owned(),
            ("", status) => format!("{status} of a proxy"),
            ("PassthroughCluster", _) => "forwarded as requested".to_owned(),
            (_, status) => format!("{status} of a service"),
        };
        *self.answers.entry(answer).or_default() += 1;
    }

    pub(super) fn differ(&mut self, pair: &Pair<'_>) {
        if let Some(accepted) = ACCEPTED.iter().find(|it| (it.is)(pair)) {
            *self.accepted.entry(accepted.name).or_default() += 1;
            return;
        }
        self.differences += 1;
        if self.differences > self.show {
            return;
        }
        let number = pair.case.number;
        println!("\n--- --seed {} --only {number}", self.seed);
        println!("{}", pair.case.summary());
        if let Some(request) = pair.request {
            println!("{request}");
        }
        let text = |outcomes: Result<&[Outcome], &str>| match (outcomes, pair.request) {
            (Ok(outcomes), Some(_)) => {
                let outcomes: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
                outcomes.join("\n  or:     ")
            }
            (Ok(_), None) => "accepts the configuration".to_owned(),
            (Err(reason), _) => format!("refuses the configuration: {reason}"),
        };
        println!("Galleria: {}", text(pair.ours));
        println!("Istio:    {}", text(pair.theirs.map(std::slice::from_ref)));
    }

    /// Whether `accepted` was found, and nothing else.
    pub(super) fn is_only(&self, accepted: &Difference) -> bool {
        self.differences == 0 && self.accepted.keys().eq([&accepted.name])
    }

    pub(super) fn print(&self) {
        println!(
            "\n{} configurations with {} objects; {} requests, which Istio answers with",
            self.cases, self.objects, self.requests
        );
        for (answer, count) in &self.answers {
            println!("{count:>8}  {answer}");
        }
        println!("Configurations that both refuse:");
        for (reason, count) in &self.refused {
            println!("{count:>8}  {reason}");
        }
        println!("Accepted differences:");
        for accepted in &ACCEPTED {
            let count = self.accepted.get(accepted.name).unwrap_or(&0);
            println!("{count:>8}  {}: {}", accepted.name, accepted.reason);
        }
        println!("Other differences: {}", self.differences);
    }
}
