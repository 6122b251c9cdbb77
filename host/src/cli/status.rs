//! `galleria status`.

use std::path::Path;
use std::process::ExitCode;

use crate::status;
use crate::terminal::print;

pub(super) fn status(data: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(status::fetch(data))?;
    if json {
        print(&serde_json::to_string_pretty(&report)?);
    } else {
        print(status::render(&report).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
