//! `galleria backup`.

use std::path::Path;
use std::process::ExitCode;

use crate::status;
use crate::terminal::print;

pub(super) fn backup(data: &Path, to: &Path) -> anyhow::Result<ExitCode> {
    let order = status::BackupOrder {
        to: std::path::absolute(to)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let copied = runtime
        .block_on(status::ask_for_backup(data, &order))?
        .map_err(anyhow::Error::msg)?;
    for file in copied.files {
        print(&file.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}
