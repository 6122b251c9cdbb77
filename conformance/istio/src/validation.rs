//! Validation: which objects are refused, and what the analyzers find in those that are not.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`case`] | objects that are applied together, with what was changed in them |
//! | [`generate`] | random ones |
//! | [`mutate`], [`values`] | a random change of an object |
//! | [`galleria`] | what `galleria check` says |
//! | [`differences`] | the differences that are accepted, with their reasons |
//! | [`report`] | what was compared, and what differs |

mod case;
mod differences;
mod galleria;
mod generate;
mod mutate;
mod report;
mod values;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use galleria_manifest::codes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use self::case::{Case, identity};
use self::differences::{Difference, Verdict, accepted};
use self::galleria::is_compared;
use self::generate::{Generator, is_of_istio};
use self::report::Report;
use crate::issuer::Issuer;
use crate::judge::{Finding, Judge, ValidationAnswers};

/// How much to compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) mutations: usize,
    pub(crate) seed: u64,
    /// The only case to compare.
    pub(crate) only: Option<usize>,
    /// The number of differences to print.
    pub(crate) show: usize,
}

/// Compares random cases; fails if they differ in what is not accepted.
pub(crate) fn run(judge: &Judge, amount: Amount) -> Result<()> {
    println!("validation: seed {}", amount.seed);
    prove_accepted(judge)?;
    let numbers: Vec<usize> = match amount.only {
        Some(number) => vec![number],
        None => (0..amount.mutations).collect(),
    };
    let issuer = Issuer::new();
    let cases = numbers.iter().map(|number| {
        // Each case has its own seed, so that it can be repeated alone.
        let seed = amount.seed.wrapping_mul(1_000_003) + *number as u64;
        Generator::new(StdRng::seed_from_u64(seed), &issuer).case(*number)
    });
    let cases: Vec<Case> = cases.collect();
    let mut report = Report::new(amount.seed, amount.show);
    for (case, theirs) in cases.iter().zip(&answers(judge, &cases)?) {
        compare(case, theirs, &mut report);
    }
    report.print();
    match report.differences {
        0 => Ok(()),
        count => bail!("{count} differences are not in validation/differences.rs"),
    }
}

fn answers(judge: &Judge, cases: &[Case]) -> Result<Vec<ValidationAnswers>> {
    let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
    judge.validation(&asked)
}

fn compare(case: &Case, theirs: &ValidationAnswers, report: &mut Report) {
    report.case(case);
    let ours = galleria::answer(case);
    let mut all_stored = true;
    for (at, object) in case.objects.iter().enumerate() {
        if !is_of_istio(object) {
            // Kubernetes decides about it.
            all_stored &= ours.refused[at].is_empty();
            continue;
        }
        let theirs = theirs.refused[at].as_str();
        let ours = ours.refused[at].as_str();
        report.object(!theirs.is_empty());
        all_stored &= theirs.is_empty() && ours.is_empty();
        if theirs.is_empty() != ours.is_empty() {
            report.differ(
                case,
                &Difference {
                    object,
                    verdict: Verdict::Refused { ours, theirs },
                },
            );
        }
    }
    if !all_stored {
        return;
    }
    let (mut in_case, mut ours_in_case) = (BTreeSet::new(), BTreeSet::new());
    for object in &case.objects {
        let theirs = codes_of(theirs, object);
        let ours = ours.codes_of(object);
        report.analysed(&theirs);
        for code in theirs.symmetric_difference(&ours) {
            let is_ours = ours.contains(code);
            if BETWEEN_OBJECTS.contains(&code.as_str()) {
                continue;
            }
            report.differ(case, &Difference::code(case, object, code, is_ours));
        }
        in_case.extend(theirs);
        ours_in_case.extend(ours);
    }
    for code in BETWEEN_OBJECTS {
        let is_ours = ours_in_case.contains(code);
        if is_ours != in_case.contains(code)
            && let Some(object) = case.objects.iter().find(|it| is_of_istio(it))
        {
            report.differ(case, &Difference::code(case, object, code, is_ours));
        }
    }
}

/// Conflicts of several objects. Istio reports all of them, Galleria the later ones.
const BETWEEN_OBJECTS: [&str; 4] = [
    codes::CONFLICTING_HOSTS,
    codes::SHARED_CERTIFICATE,
    codes::CONFLICTING_GATEWAYS,
    codes::CONFLICTING_PROTOCOLS,
];

/// Those of Istio's codes for an object that are compared.
fn codes_of(answers: &ValidationAnswers, object: &Value) -> BTreeSet<String> {
    let [kind, _, name] = identity(object);
    let of_object = |it: &&Finding| it.kind == kind && it.name == name;
    let codes = answers.findings.iter().filter(of_object);
    let codes = codes.map(|it| it.code.clone());
    codes.filter(|code| is_compared(code)).collect()
}

/// Every accepted difference must still exist.
fn prove_accepted(judge: &Judge) -> Result<()> {
    let examples = accepted().map(|it| Case::example(it.example, generate::PODS));
    let cases: Vec<Case> = examples.collect();
    for ((accepted, case), theirs) in accepted().zip(&cases).zip(&answers(judge, &cases)?) {
        let mut report = Report::new(0, 0);
        compare(case, theirs, &mut report);
        if !report.is_only(accepted) {
            bail!(
                "the accepted difference `{}` does not exist any more, or is another one; \
                 remove or correct it in validation/differences.rs",
                accepted.name
            );
        }
    }
    Ok(())
}
