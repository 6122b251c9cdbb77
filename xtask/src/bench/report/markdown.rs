//! `loadtest/results.md`: the results for people.

use std::fmt::Write;

use super::format::{number, spread};
use super::model::{Metric, Row, Table};
use super::{CHART, Report, targets};

const INTRODUCTION: &str = "\
Created by `cargo xtask bench`. Contenders run in turn (A B A B), each in a new process, with
the load generator on the same machine. Figures are medians of the rounds. A ratio is the
median of the ratios of single rounds, with the smallest and the largest in parentheses. Only
ratios apply to other machines.

CPU time, context switches, threads and memory are those of all server processes, without the
load generator. The generator `wrk` has one thread, so every contender has the same number of
cores left; where `generator cores` is near 1, the throughput is limited by the generator.
";

pub(super) fn write(report: &Report) -> String {
    let mut text = format!("# Benchmark results\n\n{INTRODUCTION}\n");
    if super::chart::draw(report).is_some() {
        let _ = writeln!(text, "![CPU time, throughput and latency]({CHART})\n");
    }
    targets(&mut text, report);
    for results in report.races.values() {
        let mut described = "";
        for each in &results.tables {
            let _ = writeln!(text, "## {}\n", each.title);
            if each.setup != described {
                let _ = writeln!(text, "{}\n", each.setup);
                described = &each.setup;
            }
            let _ = write!(text, "`{}`, {}", results.command, results.machine);
            table(&mut text, each);
        }
    }
    text
}

fn targets(text: &mut String, report: &Report) {
    text.push_str("## Targets\n\n| | | target | result | |\n| --- | --- | ---: | ---: | --- |\n");
    for verdict in targets::verdicts(report) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            verdict.title,
            verdict.what,
            verdict.wanted,
            verdict.result,
            if verdict.met { "met" } else { "**missed**" },
        );
    }
    text.push('\n');
}

fn table(text: &mut String, table: &Table) {
    if !table.baseline.is_empty() {
        let _ = write!(text, ". Ratios are to *{}*", table.baseline);
    }
    text.push_str(".\n\n");
    let mut heads = vec![String::new()];
    for metric in &table.columns {
        heads.push(metric.label().to_owned());
        if table.compared.contains(metric) {
            heads.push("ratio".to_owned());
        }
    }
    line(text, &heads);
    let alignment = heads.iter().enumerate();
    let alignment: Vec<_> = alignment
        .map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    line(text, &alignment);
    for row in &table.rows {
        let mut cells = vec![row.name.clone()];
        for metric in &table.columns {
            cells.push(cell(row, *metric));
            if table.compared.contains(metric) {
                cells.push(ratio(table, row, *metric));
            }
        }
        line(text, &cells);
    }
    text.push('\n');
}

fn cell(row: &Row, metric: Metric) -> String {
    row.spread(metric)
        .map_or_else(String::new, |values| number(values.median))
}

fn ratio(table: &Table, row: &Row, metric: Metric) -> String {
    let baseline = table.row(&table.baseline);
    let ratio = baseline.and_then(|baseline| row.ratio(baseline, metric));
    ratio.map_or_else(String::new, |ratio| spread(ratio, " ×"))
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
