//! The judge's program: cases in, answers out.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) struct Judge {
    pub(crate) program: PathBuf,
    pub(crate) envoy: PathBuf,
    /// A folder for cases and answers.
    pub(crate) work: PathBuf,
}

/// What the judge reads; its Go types have the same names and explain the fields.
#[derive(Default, Serialize)]
struct Cases<'a> {
    security: &'a [SecurityCase],
    routing: &'a [RoutingCase],
    validation: &'a [ValidationCase<'a>],
}

#[derive(Serialize)]
pub(crate) struct ValidationCase<'a> {
    pub(crate) objects: &'a [Value],
}

#[derive(Serialize)]
pub(crate) struct RoutingCase {
    pub(crate) istio: String,
    pub(crate) kubernetes: String,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) requests: Vec<RoutingRequest>,
}

#[derive(Serialize)]
pub(crate) struct Proxy {
    pub(crate) gateway: bool,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) address: String,
}

#[derive(Serialize)]
pub(crate) struct RoutingRequest {
    pub(crate) proxy: usize,
    pub(crate) port: u16,
    pub(crate) text: String,
}

#[derive(Serialize)]
pub(crate) struct SecurityCase {
    pub(crate) policies: String,
    pub(crate) workload: Workload,
    pub(crate) requests: Vec<SecurityRequest>,
    pub(crate) seen: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) address: String,
    pub(crate) ports: Vec<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecurityRequest {
    pub(crate) identity: String,
    pub(crate) server_name: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) port: u16,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Answers {
    security: Vec<CaseAnswers>,
    routing: Vec<CaseAnswers>,
    validation: Vec<ValidationAnswers>,
}

#[derive(Deserialize)]
pub(crate) struct ValidationAnswers {
    /// For each object, why it is refused; empty if it is stored.
    pub(crate) refused: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// A message of Istio's analyzers.
#[derive(Deserialize)]
pub(crate) struct Finding {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) code: String,
}

/// The answers to the requests of one case, or the reason for refusing its objects.
#[derive(Deserialize)]
pub(crate) struct CaseAnswers {
    #[serde(default)]
    pub(crate) refused: Option<String>,
    #[serde(default)]
    pub(crate) answers: Vec<Answer>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) closed: bool,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: HashMap<String, String>,
    #[serde(default)]
    pub(crate) body: String,
    #[serde(default)]
    pub(crate) arrivals: Vec<Arrival>,
}

/// One attempt or one copy of a request, at the service behind a cluster.
#[derive(Deserialize)]
pub(crate) struct Arrival {
    pub(crate) cluster: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
}

impl Judge {
    /// The answers to `cases`, in their order.
    pub(crate) fn security(&self, security: &[SecurityCase]) -> Result<Vec<CaseAnswers>> {
        let cases = Cases {
            security,
            ..Cases::default()
        };
        same_number(self.ask(&cases)?.security, security.len())
    }

    /// The answers to `cases`, in their order.
    pub(crate) fn routing(&self, routing: &[RoutingCase]) -> Result<Vec<CaseAnswers>> {
        let cases = Cases {
            routing,
            ..Cases::default()
        };
        same_number(self.ask(&cases)?.routing, routing.len())
    }

    /// The answers to `cases`, in their order.
    pub(crate) fn validation(
        &self,
        validation: &[ValidationCase<'_>],
    ) -> Result<Vec<ValidationAnswers>> {
        let cases = Cases {
            validation,
            ..Cases::default()
        };
        same_number(self.ask(&cases)?.validation, validation.len())
    }

    fn ask(&self, cases: &Cases<'_>) -> Result<Answers> {
        fs::create_dir_all(&self.work)?;
        let (file, answers) = (self.work.join("cases.json"), self.work.join("answers.json"));
        fs::write(&file, serde_json::to_string(cases)?)?;
        let mut judge = Command::new(&self.program);
        judge.arg("-cases").arg(&file).arg("-answers").arg(&answers);
        let status = judge.arg("-envoy").arg(&self.envoy).status();
        let status = status.with_context(|| self.program.display().to_string())?;
        if !status.success() {
            bail!("the judge failed ({status}) with {}", file.display());
        }
        Ok(serde_json::from_str(&fs::read_to_string(&answers)?)?)
    }
}

fn same_number<T>(answers: Vec<T>, cases: usize) -> Result<Vec<T>> {
    if answers.len() != cases {
        bail!("the judge answered another number of cases");
    }
    Ok(answers)
}
