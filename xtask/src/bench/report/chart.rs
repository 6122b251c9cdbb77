//! `loadtest/results.svg`: the product page in bars, for the README.
//!
//! It follows the reader's light or dark colours with a media query and has a background of
//! its own, so that it is readable even where a page is dark and the browser is not.

use std::fmt::Write;

use super::format::number;
use super::model::{Metric, Table};
use super::{Report, Results};
use crate::bench::{RaceName, product};

/// One group of bars: a metric of each row of a table.
struct Group {
    table: &'static str,
    metric: Metric,
    title: &'static str,
}

const GROUPS: &[Group] = &[
    Group {
        table: product::BUSY,
        metric: Metric::CpuMicrosecondsPerRequest,
        title: "CPU time per product page, µs, 32 connections (less is better)",
    },
    Group {
        table: product::BUSY,
        metric: Metric::RequestsPerSecond,
        title: "Product pages per second, 32 connections (more is better)",
    },
    Group {
        table: product::ALONE,
        metric: Metric::P50Milliseconds,
        title: "Median response time, ms, one connection (less is better)",
    },
];

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 20.0;
/// Where bars begin, after the names of the contenders.
const BARS: f64 = 270.0;
/// The longest bar leaves room for its value.
const BAR_MAX: f64 = WIDTH - BARS - MARGIN - 60.0;
const BAR_HEIGHT: f64 = 18.0;
const ROW: f64 = 26.0;
const TITLE: f64 = 26.0;
const GAP: f64 = 16.0;

const STYLE: &str = "\
.card{fill:#ffffff;stroke:#d0d7de}.text{fill:#1f2328}.note{fill:#59636e;font-size:11px}\
.title{font-weight:600}.own{fill:#0969da}.other{fill:#8c959f}\
@media (prefers-color-scheme:dark){.card{fill:#0d1117;stroke:#3d444d}.text{fill:#f0f6fc}\
.note{fill:#9198a1}.own{fill:#4493f8}.other{fill:#656c76}}";

/// The chart, if the product page was measured.
pub(super) fn draw(report: &Report) -> Option<String> {
    let results = report.races.get(&RaceName::Product)?;
    let mut body = String::new();
    let mut y = MARGIN;
    for group in GROUPS {
        y = group.draw(report.table(group.table)?, &mut body, y) + GAP;
    }
    note(results, &mut body, y);
    let height = y + MARGIN;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" font-size=\"13\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
         <title>CPU time, throughput and latency of a product page</title>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         {body}</svg>\n",
        WIDTH - 1.0,
        height - 1.0,
    ))
}

impl Group {
    /// Draws the group at `top` and returns where it ends.
    fn draw(&self, table: &Table, body: &mut String, top: f64) -> f64 {
        let _ = writeln!(
            body,
            "<text class=\"text title\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
            top + 13.0,
            escaped(self.title),
        );
        let values = table.rows.iter().filter_map(|row| {
            let value = row.spread(self.metric)?.median;
            Some((row.name.as_str(), value))
        });
        let values: Vec<_> = values.collect();
        let longest = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let mut y = top + TITLE;
        for (name, value) in values {
            bar(body, y, name, value, BAR_MAX * value / longest);
            y += ROW;
        }
        y
    }
}

fn bar(body: &mut String, y: f64, name: &str, value: f64, length: f64) {
    let class = if name == product::GALLERIA {
        "own"
    } else {
        "other"
    };
    let baseline = y + 13.5;
    let _ = writeln!(
        body,
        "<text class=\"text\" x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"{class}\" x=\"{BARS}\" y=\"{y}\" width=\"{length:.1}\" \
         height=\"{BAR_HEIGHT}\" rx=\"3\"/>\n\
         <text class=\"text\" x=\"{:.1}\" y=\"{baseline}\">{}</text>",
        BARS - 8.0,
        escaped(name),
        BARS + length + 6.0,
        number(value),
    );
}

fn note(results: &Results, body: &mut String, y: f64) {
    let _ = writeln!(
        body,
        "<text class=\"note\" x=\"{MARGIN}\" y=\"{y}\">{}, {}</text>",
        escaped(&results.command),
        escaped(&results.machine),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
