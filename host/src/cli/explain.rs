//! `galleria explain`: what the mesh would do with a request, step by step, with
//! the places in the manifests that say so.
//!
//! It decides by the same code as the running host, on the manifests alone:
//! every Deployment has one pod, which is ready, and no image is needed. Live
//! state (ejections, breakers) is the running host's to tell.

mod ask;
mod left_out;
mod page;
mod places;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use galleria_manifest::Severity;
use galleria_manifest::model::Object;
use galleria_mesh as mesh;

use self::ask::{Asked, WrongUsage};
use self::places::Places;
use super::{Output, eprint, print};
use crate::files::Files;

/// The flags of `galleria explain`.
#[derive(Debug, Clone, Args)]
pub(super) struct Question {
    /// Files and folders with Kubernetes and Istio YAML
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The address that is asked for, as in http://shop.example.com/ui
    #[arg(long)]
    url: String,

    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,

    /// A header of the request, as "name: value"; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The workload that asks [default: a client outside, at the gateway]
    #[arg(long, value_name = "NAMESPACE/WORKLOAD")]
    from: Option<String>,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn explain(question: &Question) -> anyhow::Result<ExitCode> {
    let read = Files::new(question.paths.clone()).read();
    let pods = pods(&read.objects);
    let state = mesh::State::new(Instant::now());
    let options = mesh::Options::default();
    let compiled = mesh::compile(&read.objects, &pods, &options, &state);
    let workloads: Vec<_> = pods.iter().map(|pod| pod.workload.clone()).collect();
    let asked = match Asked::read(question, &workloads, compiled.snapshot.listeners()) {
        Ok(asked) => asked,
        Err(error) => return Ok(wrong(&error)),
    };
    let explanation = asked.explain(&compiled.snapshot);
    let places = Places::of(&read.objects, &explanation);
    match question.output {
        Output::Json => {
            let json = places.into_json(&explanation)?;
            print(&serde_json::to_string_pretty(&json)?);
        }
        Output::Text => print(page::render(&asked, &explanation, &places).trim_end()),
    }
    let errors = read
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    if errors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for error in &errors {
        eprint(error);
    }
    eprint("error: the host would not take these manifests; this is what could be read of them");
    Ok(ExitCode::from(1))
}

fn wrong(error: &WrongUsage) -> ExitCode {
    eprint(&format!("error: {error}"));
    ExitCode::from(2)
}

/// One ready pod for every workload.
fn pods(objects: &[Arc<Object>]) -> Vec<mesh::Pod> {
    let workloads = objects
        .iter()
        .filter_map(|object| Some((object, object.serving()?.0)));
    let pods = workloads.enumerate().map(|(target, (object, template))| {
        let workload = mesh::Workload::new(
            object.metadata.namespace.clone(),
            object.metadata.name.value.clone(),
            template.spec.service_account_name.value.clone(),
            template.labels.clone(),
        );
        let ports = template.spec.containers.iter();
        mesh::Pod {
            name: format!("{}-example", object.metadata.name.value),
            workload: Arc::new(workload),
            labels: template.labels.clone(),
            ports: ports
                .flat_map(|container| container.ports.iter().cloned())
                .collect(),
            ready: Arc::new(AtomicBool::new(true)),
            location: mesh::Location::Here(target),
        }
    });
    pods.collect()
}
