//! `galleria run`.

use std::process::ExitCode;

use crate::app;
use crate::settings::RunSettings;
use crate::telemetry::log;

pub(super) fn run(settings: RunSettings) -> anyhow::Result<ExitCode> {
    let traces = log::start(&settings.telemetry.log).map_err(|error| {
        anyhow::anyhow!(
            "--log `{}` is invalid: {error}; use `info`, or `galleria=debug`",
            settings.telemetry.log
        )
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(app::run(settings, traces));
    // Guests that exceeded their grace period must not keep the process alive.
    runtime.shutdown_background();
    ended
}
