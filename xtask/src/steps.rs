//! The steps of a task: prints a heading before each, the duration after it, and all
//! durations at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The completed steps.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Runs one step. If it fails, the summary is printed and the error names the step.
    pub(crate) fn step(
        &mut self,
        title: &'static str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        println!("\n=== {title}");
        let start = Instant::now();
        let result = step();
        let took = start.elapsed();
        println!("=== {title}: {:.1} s", took.as_secs_f64());
        self.done.push((title, took));
        if result.is_err() {
            self.summary();
        }
        result.with_context(|| format!("step failed: {title}"))
    }

    /// Prints the durations of all steps.
    pub(crate) fn summary(&self) {
        println!("\n=== summary");
        for (title, took) in &self.done {
            println!("{:>8.1} s  {title}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>8.1} s  in all", total.as_secs_f64());
    }
}
