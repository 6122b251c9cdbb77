//! Security: AuthorizationPolicy, RequestAuthentication and PeerAuthentication.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`case`] | policies of a mesh, and requests to one of its workloads |
//! | [`generate`] | random ones |
//! | [`galleria`] | the answers of `galleria-mesh` |
//! | [`binary`] | the answers of the real `galleria`, to fewer cases |
//! | [`outcome`] | an answer in the form in which answers are compared |
//! | [`differences`] | the differences that are accepted, with their reasons |
//! | [`report`] | what was compared, and what differs |

mod binary;
mod case;
mod differences;
mod galleria;
mod generate;
mod outcome;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use self::binary::Binary;
use self::case::Case;
use self::differences::{ACCEPTED, Pair};
use self::generate::Generator;
use self::outcome::Outcome;
use self::report::Report;
use crate::issuer::Issuer;
use crate::judge::{CaseAnswers, Judge};

/// How much to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of random sets of policies
    #[arg(long, default_value_t = 200)]
    policies: usize,
    /// Number of random requests for each
    #[arg(long, default_value_t = 20)]
    pub(crate) requests: usize,
    /// Seed of the random number generator
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Compare only the set of policies with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) only: Option<usize>,
    /// Number of differences to print
    #[arg(long, default_value_t = 10)]
    pub(crate) show: usize,
    /// The program of Galleria, to compare it too
    #[arg(long, requires = "components")]
    galleria: Option<PathBuf>,
    /// The folder with the guests of the tests
    #[arg(long)]
    components: Option<PathBuf>,
}

/// The number of listeners that one Envoy starts with in a few seconds.
const BATCH: usize = 250;

/// The sets of policies that the program of Galleria gets.
const BINARY_SETS: usize = 40;

/// Compares random cases; fails if they differ in what is not accepted.
pub(crate) fn run(judge: &Judge, options: &Options) -> Result<()> {
    println!("security: seed {}", options.seed);
    let issuer = Issuer::new();
    prove_accepted(judge, &issuer)?;
    let numbers: Vec<usize> = match options.only {
        Some(number) => vec![number],
        None => (0..options.policies).collect(),
    };
    let mut report = Report::new(options.seed, options.show);
    for numbers in numbers.chunks(BATCH) {
        let cases = numbers.iter().map(|number| {
            // Each set has its own seed, so that it can be repeated alone.
            let seed = options.seed.wrapping_mul(1_000_003) + *number as u64;
            let rng = StdRng::seed_from_u64(seed);
            Generator::new(rng, &issuer).case(*number, options.requests)
        });
        let cases: Vec<Case> = cases.collect();
        let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
        let answers = judge.security(&asked)?;
        for (case, answers) in cases.iter().zip(&answers) {
            compare(case, answers, &mut report);
        }
    }
    if let (Some(program), Some(components)) = (&options.galleria, &options.components) {
        let work = judge.work.as_path();
        let binary = Binary {
            program,
            components,
            work,
        };
        compare_binary(judge, &binary, options, &mut report)?;
    }
    report.print();
    match report.differences {
        0 => Ok(()),
        count => bail!("{count} differences are not in security/differences.rs"),
    }
}

fn compare(case: &Case, answers: &CaseAnswers, report: &mut Report) {
    report.set(case);
    let ours = galleria::answer(case);
    let (ours, theirs) = match (&ours, &answers.refused) {
        (Err(reason), Some(_)) => return report.refused_by_both(reason),
        (Ok(ours), None) => (ours, &answers.answers),
        (ours, theirs) => {
            // One of them refuses the policies, so that there is nothing to ask the other.
            let accepted = Outcome::closed();
            let pair = Pair {
                case,
                request: None,
                ours: ours.as_ref().map(|_| &accepted).map_err(String::as_str),
                theirs: theirs.as_deref().map_or(Ok(&accepted), Err),
            };
            return report.differ(&pair);
        }
    };
    for ((request, ours), theirs) in case.requests.iter().zip(ours).zip(theirs) {
        let theirs = Outcome::of_judge(theirs);
        report.request(&theirs);
        if *ours != theirs {
            report.differ(&Pair {
                case,
                request: Some(request),
                ours: Ok(ours),
                theirs: Ok(&theirs),
            });
        }
    }
}

/// Compares what a client of the host sees.
fn compare_binary(
    judge: &Judge,
    binary: &Binary<'_>,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let issuer = Issuer::new();
    let cases = (0..BINARY_SETS).map(|number| {
        let rng = StdRng::seed_from_u64(options.seed.wrapping_mul(2_000_003) + number as u64);
        let namespace = format!("shop-{number}");
        let generator = Generator::through_gateway(rng, &issuer, namespace);
        generator.case(number, options.requests)
    });
    let mut cases: Vec<Case> = cases.collect();
    // A host does not start with a policy that it refuses.
    cases.retain(|case| galleria::answer(case).is_ok());
    let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
    let answers = judge.security(&asked)?;
    let host = binary.start(&cases)?;
    for (number, (case, answers)) in cases.iter().zip(&answers).enumerate() {
        report.set(case);
        for (request, theirs) in case.requests.iter().zip(&answers.answers) {
            let mut theirs = Outcome::of_judge(theirs);
            // The reason is not for clients.
            theirs.details.clear();
            report.request(&theirs);
            let ours = host.ask(number, request)?;
            if ours != theirs {
                report.differ(&Pair {
                    case,
                    request: Some(request),
                    ours: Ok(&ours),
                    theirs: Ok(&theirs),
                });
            }
        }
    }
    Ok(())
}

/// Every accepted difference must still exist.
fn prove_accepted(judge: &Judge, issuer: &Issuer) -> Result<()> {
    let cases: Vec<_> = ACCEPTED.iter().map(|it| (it.example)(issuer)).collect();
    let asked: Vec<_> = cases.iter().map(Case::for_judge).collect();
    let answers = judge.security(&asked)?;
    for ((accepted, case), answers) in ACCEPTED.iter().zip(&cases).zip(&answers) {
        let mut report = Report::new(0, 0);
        compare(case, answers, &mut report);
        if !report.is_only(accepted) {
            bail!(
                "the accepted difference `{}` does not exist any more, or is another one; \
                 remove or correct it in security/differences.rs",
                accepted.name
            );
        }
    }
    Ok(())
}

/// The policies of a random case.
pub(crate) fn objects(seed: u64, issuer: &Issuer) -> Vec<Value> {
    let case = Generator::new(StdRng::seed_from_u64(seed), issuer).case(0, 0);
    let lines = case.manifest.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
