//! `galleria kubeconfig`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::admin;
use crate::terminal::print;

pub(super) fn kubeconfig(
    data: &Path,
    output: Option<PathBuf>,
    read_only: bool,
) -> anyhow::Result<ExitCode> {
    let file = admin::kubeconfig(data, output, read_only)?;
    print(&file.display().to_string());
    Ok(ExitCode::SUCCESS)
}
