//! The race of a minimal component: the cost of a request through the host.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::contender::{Contender, Running};
use crate::components::place;
use crate::galleria::Host;
use crate::process::{self, cargo};
use crate::server::{Server, free_address};
use crate::workspace::Workspace;
use crate::{guests, run};

/// The wasmtime version that the host is built on.
const WASMTIME: &str = "48.0.8";

pub(super) const GALLERIA: &str = "galleria";
pub(super) const REUSED: &str = "wasmtime serve, instances reused";
const DEFAULT: &str = "wasmtime serve, its defaults";
const NATIVE: &str = "native axum";

/// Builds all contenders.
pub(super) fn contenders(
    workspace: &Workspace,
    takes_part: &dyn Fn(&str) -> bool,
) -> Result<Vec<Contender>> {
    guests::build_rust(workspace)?;
    let component = component(workspace);
    let mut contenders = Vec::new();
    if takes_part(GALLERIA) {
        let host = build(workspace, workspace.scratch("bench/hello")?)?;
        contenders.push(Contender::new(GALLERIA, move || through_galleria(&host)));
    }
    if takes_part(REUSED) || takes_part(DEFAULT) {
        let wasmtime = install_wasmtime(workspace)?;
        let log = workspace.scratch("bench/hello-wasmtime")?.join("serve.log");
        for (name, arguments) in [
            (
                REUSED,
                &["--max-instance-reuse-count", "1000000000"] as &[&str],
            ),
            (DEFAULT, &[]),
        ] {
            if !takes_part(name) {
                continue;
            }
            let (wasmtime, component, log) = (wasmtime.clone(), component.clone(), log.clone());
            let start = move || {
                let address = free_address()?;
                let mut serve = Command::new(&wasmtime);
                serve
                    .args(["serve", "-Scli", "--addr", &address.to_string()])
                    .args(arguments);
                let mut server = Server::start(serve.arg(&component), &log)?;
                server.wait_for(address, "/")?;
                Ok(Running {
                    url: format!("http://{address}/"),
                    servers: vec![server],
                })
            };
            contenders.push(Contender::new(name, start));
        }
    }
    if takes_part(NATIVE) {
        let program = build_example(workspace, "native-hello")?;
        let log = workspace.scratch("bench/hello-native")?.join("native.log");
        contenders.push(Contender::new(NATIVE, move || {
            let address = free_address()?;
            let mut server = Server::start(Command::new(&program).arg(address.to_string()), &log)?;
            server.wait_for(address, "/")?;
            Ok(Running {
                url: format!("http://{address}/"),
                servers: vec![server],
            })
        }));
    }
    Ok(contenders)
}

/// Builds the host and the component; the host's data is stored in `folder`.
pub(super) fn build(workspace: &Workspace, folder: PathBuf) -> Result<Host> {
    guests::build_rust(workspace)?;
    run::build_host(workspace)?;
    let components = folder.join("components");
    place(&component(workspace), &components.join("hello/v1.wasm"))?;
    Ok(Host::new(
        workspace,
        "loadtest/hello",
        components,
        "off",
        folder,
    ))
}

fn component(workspace: &Workspace) -> PathBuf {
    workspace.test_components().join("hello.wasm")
}

pub(super) fn through_galleria(host: &Host) -> Result<Running> {
    let mut started = host.start()?;
    started.wait()?;
    let gateway = started.gateway()?;
    Ok(Running {
        url: format!("http://{gateway}/"),
        servers: vec![started.server],
    })
}

fn install_wasmtime(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.target.join("tools");
    let program = tools.join("bin/wasmtime");
    if !program.exists() {
        let mut install = cargo();
        install.args([
            "install",
            "wasmtime-cli",
            "--version",
            WASMTIME,
            "--locked",
            "--root",
        ]);
        process::run(install.arg(tools))?;
    }
    Ok(program)
}

/// Builds a program that takes part in races, and returns its path.
pub(super) fn build_example(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args(["build", "--release", "-p", "xtask", "--example", name]);
    process::run(&mut build)?;
    Ok(workspace.target.join("release/examples").join(name))
}
