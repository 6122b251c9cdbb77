//! `cargo xtask image`: builds the container image with the available engine.
//!
//! `deploy/Dockerfile` defines the content; this module only chooses the command.
//! Timestamps are those of the commit, so that the same sources give the same layers. What
//! the image is made of is written into it, and beside it (`sbom`).

mod engine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::components;
use crate::process::{self, read};
use crate::sbom;
use crate::workspace::Workspace;

pub(crate) use engine::Engine;

/// How to build it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The engine that builds it [default: the first of docker, podman and buildah that works]
    #[arg(long, value_enum)]
    pub(crate) engine: Option<Engine>,
    /// The image's name
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("galleria:", env!("CARGO_PKG_VERSION")))]
    pub(crate) tag: String,
    /// Use the host that cargo built in target/PROFILE instead of compiling it in a
    /// container; for a system like this one
    #[arg(long, value_name = "PROFILE")]
    pub(crate) from_target: Option<String>,
    /// Further arguments for the engine, after `--`: `--build-arg BASE_IMAGE=…`
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// Builds the image.
pub(crate) fn build(workspace: &Workspace, options: &Options) -> Result<()> {
    let engine = match options.engine {
        Some(engine) => engine,
        None => Engine::that_works()?,
    };
    let mut build = engine.build(git(workspace, "%ct")?.as_deref());
    build.current_dir(&workspace.root);
    build.args(["--file", "deploy/Dockerfile", "--tag", &options.tag]);
    build.args([
        "--build-arg",
        concat!("VERSION=", env!("CARGO_PKG_VERSION")),
    ]);
    if let Some(revision) = git(workspace, "%H")? {
        build.args(["--build-arg", &format!("REVISION={revision}")]);
    }
    let document = sbom::file(workspace);
    match &options.from_target {
        Some(profile) => {
            let folder = lay_out(workspace, profile)?;
            sbom::write(workspace, Some(&folder.join("galleria")), &document)?;
            let copy = folder.join(SBOM);
            fs::copy(&document, &copy).with_context(|| copy.display().to_string())?;
            build.args(["--build-arg", "PROGRAM=target"]);
        }
        // The image has its own, with the program that is compiled in the container.
        None => sbom::write(workspace, None, &document)?,
    }
    build.args(&options.arguments).arg(".");
    process::run(&mut build)
}

/// The document in the folder that the last stage copies.
const SBOM: &str = "sbom.cdx.json";

/// Places the files that the stage `target` copies below the workspace, independent of
/// cargo's target folder, and returns their folder.
fn lay_out(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    let folder = workspace.root.join("target/image");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder.join("data")).with_context(|| folder.display().to_string())?;
    let program = workspace.target.join(profile).join("galleria");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(folder.join("galleria")).arg(&program);
    process::run(&mut strip)?;
    components::build_services(workspace)?;
    for component in wasm_below(&workspace.components())? {
        let within = component.strip_prefix(workspace.components())?;
        components::place(&component, &folder.join("components").join(within))?;
    }
    Ok(folder)
}

/// All files `NAME/TAG.wasm`.
pub(crate) fn wasm_below(components: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in components.read_dir()? {
        for component in name?.path().read_dir()? {
            found.push(component?.path());
        }
    }
    found.retain(|path| path.extension().is_some_and(|it| it == "wasm"));
    Ok(found)
}

/// A property of the current commit; `None` if the sources are not a git repository.
pub(crate) fn git(workspace: &Workspace, format: &str) -> Result<Option<String>> {
    if !workspace.root.join(".git").exists() {
        return Ok(None);
    }
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    git.args(["log", "-1", &format!("--format={format}")]);
    Ok(Some(read(&mut git)?.trim().to_owned()))
}
