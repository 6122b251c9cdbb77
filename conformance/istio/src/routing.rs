//! Routing: VirtualService, DestinationRule, Gateway, ServiceEntry and Sidecar.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`case`] | the configuration of a mesh, and requests through its proxies |
//! | [`generate`] | random ones |
//! | [`galleria`] | the answers of `galleria-mesh` |
//! | [`outcome`] | an answer in the form in which answers are compared |
//! | [`differences`] | the differences that are accepted, with their reasons |
//! | [`report`] | what was compared, and what differs |

mod case;
mod differences;
mod galleria;
mod generate;
mod outcome;
mod report;

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use self::case::{Case, PROXIES};
use self::differences::{ACCEPTED, Pair};
use self::generate::Generator;
use self::outcome::Outcome;
use self::report::Report;
use crate::judge::{CaseAnswers, Judge};

/// How much to compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) cases: usize,
    /// Whether they have what is compared, but not explained yet.
    pub(crate) extended: bool,
    /// Of each case.
    pub(crate) requests: usize,
    pub(crate) seed: u64,
    /// The only case to compare.
    pub(crate) only: Option<usize>,
    /// The number of differences to print.
    pub(crate) show: usize,
}

/// The number of cases whose routes one Envoy has.
const BATCH: usize = 150;

/// Compares random cases; fails if they differ in what is not accepted.
pub(crate) fn run(judge: &Judge, amount: Amount) -> Result<()> {
    println!("routing: seed {}", amount.seed);
    prove_accepted(judge)?;
    let numbers: Vec<usize> = match amount.only {
        Some(number) => vec![number],
        None => (0..amount.cases).collect(),
    };
    let mut report = Report::new(amount.seed, amount.show);
    for numbers in numbers.chunks(BATCH) {
        let cases = numbers.iter().map(|number| {
            // Each case has its own seed, so that it can be repeated alone.
            let seed = amount.seed.wrapping_mul(1_000_003) + *number as u64;
            let rng = StdRng::seed_from_u64(seed);
            Generator::new(rng, amount.extended).case(*number, amount.requests)
        });
        let cases: Vec<Case> = cases.collect();
        let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
        let mut answers = judge.routing(&asked)?;
        ask_again(judge, &cases, &mut answers)?;
        for (case, answers) in cases.iter().zip(&answers) {
            compare(case, answers, &mut report);
        }
    }
    report.print();
    match report.differences {
        0 => Ok(()),
        count => bail!("{count} differences are not in routing/differences.rs"),
    }
}

/// Asks again about the cases that differ. Envoy does not repeat a mirrored request that is
/// lost, as a few of a hundred thousand are on a busy machine; what differs otherwise does so
/// again.
fn ask_again(judge: &Judge, cases: &[Case], answers: &mut [CaseAnswers]) -> Result<()> {
    let differs = |(case, answers): &(&Case, &mut CaseAnswers)| {
        let mut report = Report::new(0, 0);
        compare(case, answers, &mut report);
        report.differences > 0
    };
    let different: Vec<_> = cases.iter().zip(answers).filter(differs).collect();
    if different.is_empty() {
        return Ok(());
    }
    let asked: Vec<_> = different.iter().map(|(case, _)| case.for_judge()).collect();
    let again = judge.routing(&asked)?;
    for ((_, before), again) in different.into_iter().zip(again) {
        *before = again;
    }
    Ok(())
}

fn compare(case: &Case, answers: &CaseAnswers, report: &mut Report) {
    report.case(case);
    let ours = galleria::answer(case);
    let (ours, theirs) = match (&ours, &answers.refused) {
        (Err(reason), Some(_)) => return report.refused_by_both(reason),
        (Ok(ours), None) => (ours, &answers.answers),
        (ours, theirs) => {
            // One of them refuses the objects, so that there is nothing to ask the other.
            let accepted = [Outcome::default()];
            let pair = Pair {
                case,
                request: None,
                ours: ours.as_ref().map(|_| &accepted[..]).map_err(String::as_str),
                theirs: theirs.as_deref().map_or(Ok(&accepted[0]), Err),
            };
            return report.differ(&pair);
        }
    };
    for ((request, ours), theirs) in case.requests.iter().zip(ours).zip(theirs) {
        let theirs = Outcome::of_judge(theirs);
        report.request(&theirs);
        // A sidecar passes on what it does not listen to, as it is.
        if theirs.status == 0 && !PROXIES[request.proxy].gateway {
            continue;
        }
        if !ours.contains(&theirs) {
            report.differ(&Pair {
                case,
                request: Some(request),
                ours: Ok(ours),
                theirs: Ok(&theirs),
            });
        }
    }
}

/// Every accepted difference must still exist.
fn prove_accepted(judge: &Judge) -> Result<()> {
    let cases: Vec<_> = ACCEPTED.iter().map(|it| (it.example)()).collect();
    let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
    let answers = judge.routing(&asked)?;
    for ((accepted, case), answers) in ACCEPTED.iter().zip(&cases).zip(&answers) {
        let mut report = Report::new(0, 0);
        compare(case, answers, &mut report);
        if !report.is_only(accepted) {
            bail!(
                "the accepted difference `{}` does not exist any more, or is another one; \
                 remove or correct it in routing/differences.rs",
                accepted.name
            );
        }
    }
    Ok(())
}

/// The objects of a random case.
pub(crate) fn objects(seed: u64) -> Vec<Value> {
    let case = Generator::new(StdRng::seed_from_u64(seed), false).case(0, 0);
    [case.kubernetes, case.istio].concat()
}
