//! Compares measured costs with the recorded ones, which are in `host/tests/costs.toml`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

const UPDATE: &str = "UPDATE_COSTS=1 cargo test -p galleria --lib costs";

/// The part of its recorded number by which a cost may change.
const MARGIN: f64 = 0.1;

/// A cost may change by this in any case. A fraction may come from the host's other work, but
/// a whole allocation or context switch more is noticed.
const MARGIN_MIN: f64 = 0.5;

/// A measured cost, by its name in the file.
pub type Cost = (String, f64);

/// Fails if a cost has changed. A fall must be recorded too, otherwise a later rise to the old
/// number would not be noticed. With `UPDATE_COSTS=1`, records the costs instead.
#[expect(clippy::disallowed_methods, reason = "the variable is for developers")]
pub fn assert_as_recorded(costs: &[Cost]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/costs.toml");
    let text = fs::read_to_string(&file).expect("the recorded costs");
    if std::env::var_os("UPDATE_COSTS").is_some() {
        let updated = costs.iter().fold(text, |text, cost| record(&text, cost));
        return fs::write(&file, updated).expect("the file can be written");
    }
    let is_within = |(name, now): &Cost| {
        let recorded = recorded(&text, name);
        (now - recorded).abs() <= (recorded * MARGIN).max(MARGIN_MIN)
    };
    assert!(
        costs.iter().all(is_within),
        "costs have changed by more than {:.0} % of those in host/tests/costs.toml:\n\n{}\n\
         If this is intended, record the new numbers in the same commit:\n    {UPDATE}\n",
        MARGIN * 100.0,
        table(&text, costs)
    );
}

fn table(text: &str, costs: &[Cost]) -> String {
    let mut table = format!(
        "{:<24}{:>10}{:>10}{:>10}\n",
        "cost", "recorded", "now", "change"
    );
    for (name, now) in costs {
        let recorded = recorded(text, name);
        let percent = (now - recorded) / recorded * 100.0;
        let _ = writeln!(
            table,
            "{name:<24}{recorded:>10.1}{now:>10.1}{percent:>+9.1}%"
        );
    }
    table
}

/// Not a number if the cost is not recorded.
fn recorded(text: &str, name: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(" = ")?.parse().ok();
    text.lines().find_map(value).unwrap_or(f64::NAN)
}

/// `text` with this cost, at the same place if it is there already.
fn record(text: &str, (name, now): &Cost) -> String {
    let new = format!("{name} = {now:.1}");
    let is_old = |line: &&str| {
        line.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.starts_with(" = "))
    };
    match text.lines().find(is_old) {
        Some(old) => text.replacen(old, &new, 1),
        None => format!("{text}{new}\n"),
    }
}
