//! The files of the results in `loadtest/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{CHART, Report, chart, markdown};

const JSON: &str = "results.json";
const MARKDOWN: &str = "results.md";

impl Report {
    /// The results of earlier runs; none if there are none in this format.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join(JSON)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write(JSON, format!("{}\n", serde_json::to_string_pretty(self)?))?;
        write(MARKDOWN, markdown::write(self))?;
        match chart::draw(self) {
            Some(drawing) => write(CHART, drawing),
            None => Ok(()),
        }
    }
}
