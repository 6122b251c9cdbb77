//! The differences from Istio that are accepted. Each has an example, which every run
//! compares: a difference that does not exist any more fails the run.

mod codes;
mod lenient;
mod strict;

use serde_json::Value;

use super::case::Case;

/// Different verdicts about an object.
pub(super) struct Difference<'a> {
    pub(super) object: &'a Value,
    pub(super) verdict: Verdict<'a>,
}

pub(super) enum Verdict<'a> {
    /// One of them refuses the object; the other reason is empty.
    Refused { ours: &'a str, theirs: &'a str },
    /// One of them has this code for it.
    Code {
        code: &'a str,
        is_ours: bool,
        objects: &'a [Value],
    },
}

pub(super) struct Accepted {
    pub(super) name: &'static str,
    /// Why Galleria differs on purpose.
    pub(super) reason: &'static str,
    /// Whether a difference is this one.
    pub(super) is: fn(&Difference<'_>) -> bool,
    /// Objects that show it, as YAML, next to those of every case.
    pub(super) example: &'static str,
}

/// All of them.
pub(super) fn accepted() -> impl Iterator<Item = &'static Accepted> {
    let refusals = lenient::ACCEPTED.iter().chain(&strict::ACCEPTED);
    refusals.chain(&codes::ACCEPTED)
}

impl<'a> Difference<'a> {
    /// About a code that only one of them has.
    pub(super) fn code(case: &'a Case, object: &'a Value, code: &'a str, is_ours: bool) -> Self {
        let objects = &case.objects;
        Self {
            object,
            verdict: Verdict::Code {
                code,
                is_ours,
                objects,
            },
        }
    }

    /// Whether only Istio refuses the object, with every reason one of these.
    fn only_istio_refuses(&self, reasons: &[&str]) -> bool {
        let Verdict::Refused { ours: "", theirs } = &self.verdict else {
            return false;
        };
        let listed = theirs.lines().filter(|line| line.trim().starts_with("* "));
        let listed: Vec<&str> = listed.collect();
        let is_known = |text: &str| reasons.iter().any(|reason| text.contains(reason));
        match listed.as_slice() {
            [] => is_known(theirs),
            listed => listed.iter().all(|text| is_known(text)),
        }
    }

    /// Whether only Galleria refuses the object, with every reason one of these.
    fn only_galleria_refuses(&self, reasons: &[&str]) -> bool {
        let Verdict::Refused { ours, theirs: "" } = &self.verdict else {
            return false;
        };
        let mut errors = ours.lines();
        errors.all(|text| reasons.iter().any(|reason| text.contains(reason)))
    }

    fn is_kind(&self, kind: &str) -> bool {
        self.object["kind"] == kind
    }

    fn only_istio_reports(&self, wanted: &str) -> bool {
        matches!(self.verdict, Verdict::Code { code, is_ours: false, .. } if code == wanted)
    }

    fn only_galleria_reports(&self, wanted: &str) -> bool {
        matches!(self.verdict, Verdict::Code { code, is_ours: true, .. } if code == wanted)
    }
}
