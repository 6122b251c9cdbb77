//! `galleria explain`: explains a request from manifests, or on the running host.
//!
//! With paths, every workload has one ready pod, and no image is needed. Without paths,
//! the host of the data folder answers, with its actual pods, ejections and breakers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use galleria_manifest::Severity;
use galleria_manifest::model::Object;
use galleria_mesh as mesh;

use super::Output;
use crate::encryption::Encryption;
use crate::explain::{Answer, Question, Subject, WrongUsage, explain};
use crate::files::Files;
use crate::settings::encryption::EncryptionSettings;
use crate::settings::identity::TrustSettings;
use crate::settings::listen::PortRule;
use crate::settings::security::SecuritySettings;
use crate::settings::topology::GatewaySettings;
use crate::status;
use crate::terminal::{eprint, print};

/// The flags of `galleria explain`.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// Files and folders with Kubernetes and Istio YAML [default: ask the running host]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The URL of the request, as in http://shop.example.com/ui
    #[arg(long)]
    url: String,

    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,

    /// A header of the request, as "name: value"; can be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The calling workload [default: an external client, at the gateway]
    #[arg(long, value_name = "NAMESPACE/WORKLOAD")]
    from: Option<String>,

    #[command(flatten)]
    security: SecuritySettings,

    #[command(flatten)]
    trust: TrustSettings,

    #[command(flatten)]
    gateways: GatewaySettings,

    #[command(flatten)]
    encryption: EncryptionSettings,

    /// The data folder of the host to query, if no PATH is given
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".galleria",
        env = "GALLERIA_DATA"
    )]
    data: PathBuf,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let question = Question {
        url: arguments.url.clone(),
        method: arguments.method.clone(),
        headers: arguments.headers.clone(),
        from: arguments.from.clone(),
    };
    let (answer, errors) = if arguments.paths.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(status::ask_to_explain(&arguments.data, &question))?;
        (answer, Vec::new())
    } else {
        of_manifests(arguments, &question)?
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            eprint(&format!("error: {error}"));
            return Ok(ExitCode::from(2));
        }
    };
    match arguments.output {
        Output::Json => print(&serde_json::to_string_pretty(&answer.json)?),
        Output::Text => print(answer.page.trim_end()),
    }
    if errors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for error in &errors {
        eprint(error);
    }
    eprint("error: the host would reject these manifests; showing what could be read");
    Ok(ExitCode::from(1))
}

/// The answer, and the errors of the manifests.
fn of_manifests(
    arguments: &Arguments,
    question: &Question,
) -> anyhow::Result<(Result<Answer, WrongUsage>, Vec<String>)> {
    let encryption = Arc::new(Encryption::open(&arguments.encryption)?);
    let allowed = arguments.security.allowed();
    let files = Files::new(arguments.paths.clone(), allowed, encryption);
    let read = files
        .strict(arguments.security.strict)
        .gateway_in(arguments.gateways.gateway_namespace.as_deref())
        .read();
    let trust_domain = &arguments.trust.trust_domain;
    let pods = pods(&read.objects, trust_domain);
    let options = arguments.gateways.apply(mesh::Options {
        trust_domain: trust_domain.clone(),
        ..mesh::Options::default()
    });
    let state = mesh::State::new(Instant::now());
    let compiled = mesh::compile(&read.objects, &pods, &options, &state);
    let declared = compiled.snapshot.listeners().iter();
    let bound = declared.filter_map(|listener| {
        let port = PortRule::Default.fixed(listener.port)?;
        Some((listener.port, port))
    });
    let subject = Subject {
        objects: &read.objects,
        pods: &pods,
        snapshot: &compiled.snapshot,
        bound: &bound.collect::<Vec<_>>(),
    };
    let errors = read
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors = errors.map(ToString::to_string).collect();
    Ok((explain(question, &subject), errors))
}

/// One ready pod for every workload.
fn pods(objects: &[Arc<Object>], trust_domain: &Arc<str>) -> Vec<mesh::Pod> {
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
            workload: Arc::new(workload.in_trust_domain(trust_domain)),
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
