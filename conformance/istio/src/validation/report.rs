//! What was compared, and what differs.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, identity};
use super::differences::{Accepted, Difference, Verdict, accepted};

/// See the module's documentation. Differences are printed as they are found.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    /// The number of differences to print.
    show: usize,
    cases: usize,
    changes: usize,
    objects: usize,
    refused: usize,
    analysed: usize,
    /// What Istio's analyzers found, of what is compared.
    codes: BTreeMap<String, usize>,
    /// By the name of the accepted difference.
    accepted: BTreeMap<&'static str, usize>,
    /// Those that are not accepted.
    pub(super) differences: usize,
    /// They, by what they are about.
    kinds: BTreeMap<String, usize>,
}

impl Report {
    pub(super) fn new(seed: u64, show: usize) -> Self {
        Self {
            seed,
            show,
            cases: 0,
            changes: 0,
            objects: 0,
            refused: 0,
            analysed: 0,
            codes: BTreeMap::new(),
            accepted: BTreeMap::new(),
            differences: 0,
            kinds: BTreeMap::new(),
        }
    }

    pub(super) fn case(&mut self, case: &Case) {
        self.cases += 1;
        self.changes += case.changes.len();
    }

    pub(super) fn object(&mut self, is_refused: bool) {
        self.objects += 1;
        self.refused += usize::from(is_refused);
    }

    pub(super) fn analysed(&mut self, codes: &BTreeSet<String>) {
        self.analysed += 1;
        for code in codes {
            *self.codes.entry(code.clone()).or_default() += 1;
        }
    }

    pub(super) fn differ(&mut self, case: &Case, difference: &Difference<'_>) {
        if let Some(accepted) = accepted().find(|it| (it.is)(difference)) {
            *self.accepted.entry(accepted.name).or_default() += 1;
            return;
        }
        self.differences += 1;
        let kind = kind_of(difference);
        let count = self.kinds.entry(kind).or_default();
        *count += 1;
        // Of each kind a few.
        if self.differences > self.show && *count > 2 || self.show == 0 {
            return;
        }
        println!("\n--- --seed {} --only {}", self.seed, case.number);
        for change in &case.changes {
            println!("{change}");
        }
        println!("{}", difference.object);
        match &difference.verdict {
            Verdict::Refused { ours, theirs } => {
                let or_accepted = |it: &str| match it {
                    "" => "accepts it".to_owned(),
                    reason => format!("refuses it: {reason}"),
                };
                println!("Galleria {}", or_accepted(ours));
                println!("Istio    {}", or_accepted(theirs));
            }
            Verdict::Code { code, is_ours, .. } => {
                let who = if *is_ours { "Galleria" } else { "Istio" };
                println!("only {who} reports {code}");
            }
        }
    }

    /// Whether `accepted` was found, and nothing else.
    pub(super) fn is_only(&self, accepted: &Accepted) -> bool {
        self.differences == 0 && self.accepted.keys().eq([&accepted.name])
    }

    pub(super) fn print(&self) {
        println!(
            "\n{} cases with {} changes: {} objects, of which Istio refuses {}",
            self.cases, self.changes, self.objects, self.refused
        );
        println!(
            "{} objects in cases without a refused object, of which the analyzers report",
            self.analysed
        );
        for (code, count) in &self.codes {
            println!("{count:>8}  {code}");
        }
        println!("Accepted differences:");
        for accepted in accepted() {
            let count = self.accepted.get(accepted.name).unwrap_or(&0);
            println!("{count:>8}  {}: {}", accepted.name, accepted.reason);
        }
        println!("Other differences: {}", self.differences);
        for (kind, count) in &self.kinds {
            println!("{count:>8}  {kind}");
        }
    }
}

/// What a difference is about, without its values.
fn kind_of(difference: &Difference<'_>) -> String {
    let [kind, ..] = identity(difference.object);
    match &difference.verdict {
        Verdict::Code { code, is_ours, .. } => {
            let who = if *is_ours { "Galleria" } else { "Istio" };
            format!("{kind}: only {who} reports {code}")
        }
        Verdict::Refused { ours, theirs } => {
            let (who, reason) = match ours.is_empty() {
                true => ("Istio", theirs),
                false => ("Galleria", ours),
            };
            let reason = reason.lines().next().unwrap_or_default();
            // Without the place and the object.
            let skipped = if ours.is_empty() { 2 } else { 4 };
            let reason = reason.splitn(skipped, ": ").last().unwrap_or_default();
            let digits = |it: char| if it.is_ascii_digit() { '#' } else { it };
            let reason: String = reason.chars().map(digits).take(160).collect();
            format!("{kind}: only {who} refuses: {reason}")
        }
    }
}
