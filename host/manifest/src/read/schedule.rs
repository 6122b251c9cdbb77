//! `schedule` and `timeZone`: accepts what Kubernetes accepts, and reports the position of
//! what it would reject.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::codes;
use crate::cron::{Cron, FIELDS};
use crate::decode::{Decoder, did_you_mean, go_duration, non_empty};
use crate::model::{Schedule, Times};
use crate::yaml::{Mark, Node, Scalar, Value};

const FORM: &str = "write five fields (minute, hour, day of month, month, day of week), as in `0 3 * * *`, or `@hourly`";

/// The names of common cron expressions.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A name of the IANA database. As in a cluster, the case matters.
pub(super) fn time_zone(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    let known = TimeZone::get(&name).ok();
    let spelled = known.as_ref().and_then(|zone| zone.iana_name());
    if spelled == Some(name.as_str()) && name != "Local" {
        return Some(name);
    }
    let hint = match spelled {
        Some(spelled) => format!("; did you mean `{spelled}`?"),
        None => {
            let names: Vec<_> = jiff::tz::db().available().collect();
            did_you_mean(&name, names.iter().map(|name| name.as_str()))
        }
    };
    let shown = d.show(&name);
    let message = format!(
        "{shown} is not a time zone{hint} (a name of the IANA database, such as `Europe/Berlin` or `Etc/UTC`)"
    );
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

pub(super) fn read(d: &mut Decoder, node: &Node, time_zone: Option<String>) -> Option<Schedule> {
    let text = non_empty(d, node)?;
    match times(&text, time_zone.as_deref()) {
        Ok(times) => {
            let schedule = Schedule {
                text,
                time_zone,
                times,
            };
            if every(&schedule.text).is_some_and(|period| period < Duration::from_secs(1)) {
                let shown = d.show(&schedule.text);
                let message = format!("{shown} is shorter than a second; it runs every second");
                d.warning(node.mark, codes::INVALID_VALUE, message);
            }
            if schedule.next_after(jiff::Timestamp::UNIX_EPOCH).is_none() {
                let shown = d.show(&schedule.text);
                let message =
                    format!("{shown} never occurs: no year has such a day; nothing will run");
                d.warning(node.mark, codes::INVALID_VALUE, message);
            }
            Some(schedule)
        }
        Err(problem) => {
            let mark = place(node, problem.offset);
            let shown = d.show(&text);
            let message = format!("{shown} is not a schedule: {}", problem.message);
            d.error(mark, codes::INVALID_VALUE, message);
            None
        }
    }
}

/// A problem of a schedule, and its byte offset.
struct Problem {
    offset: usize,
    message: String,
}

fn times(text: &str, time_zone: Option<&str>) -> Result<Times, Problem> {
    let start = text.len() - text.trim_start().len();
    let problem = |offset, message| Err(Problem { offset, message });
    let trimmed = text.trim();
    if trimmed.starts_with("TZ=") || trimmed.starts_with("CRON_TZ=") {
        let message = "a time zone is not allowed here; set it in `timeZone`";
        return problem(start, message.to_owned());
    }
    if let Some(period) = every(text) {
        // As in a cluster: whole seconds, and at least one.
        let seconds = period.as_secs().max(1);
        return Ok(Times::Every(Duration::from_secs(seconds)));
    }
    if text.starts_with("@every ") {
        let message = "`@every` needs a duration of at least one second, as in `@every 90m` or `@every 1h30m`";
        return problem(start, message.to_owned());
    }
    let named = NAMED.iter().find(|(name, _)| *name == text);
    if named.is_none() && text.starts_with('@') {
        let hint = did_you_mean(text, NAMED.iter().map(|(name, _)| *name));
        let form = if hint.is_empty() {
            format!("; {FORM}")
        } else {
            String::new()
        };
        return problem(start, format!("there is no such name{hint}{form}"));
    }
    let words = words(named.map_or(text, |(_, fields)| fields));
    let fields: Vec<&str> = words.iter().map(|(_, field)| *field).collect();
    let Ok(fields) = <[&str; FIELDS]>::try_from(fields.as_slice()) else {
        let surplus = words.get(FIELDS);
        let offset = surplus.map_or(start, |(offset, _)| *offset);
        return problem(offset, format!("it has {} fields; {FORM}", words.len()));
    };
    let cron = Cron::parse(fields).map_err(|(field, message)| Problem {
        offset: words[field].0,
        message,
    })?;
    let zone = match time_zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|error| Problem {
            offset: start,
            message: error.to_string(),
        })?,
    };
    Ok(Times::Cron { cron, zone })
}

/// The longest duration of Go: its nanoseconds are an `i64`.
const GO_DURATION_MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// The period of `@every PERIOD`. One that is not positive is zero.
fn every(text: &str) -> Option<Duration> {
    let text = text.strip_prefix("@every ")?;
    let (sign, digits) = text.split_at(text.find(|c: char| !matches!(c, '+' | '-'))?);
    let period = go_duration(digits).filter(|it| *it <= GO_DURATION_MAX)?;
    match sign {
        "" | "+" => Some(period),
        "-" => Some(Duration::ZERO),
        _ => None,
    }
}

/// The words of `text`, each with the offset of its first byte.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = 0;
    for word in text.split_whitespace() {
        let offset = text[rest..].find(word).map_or(rest, |found| rest + found);
        words.push((offset, word));
        rest = offset + word.len();
    }
    words
}

/// The position of a byte within a scalar, or the position of the scalar if its text differs
/// from its source, as in a folded scalar.
fn place(node: &Node, offset: usize) -> Mark {
    let Value::Scalar(Scalar {
        text,
        lead: Some(lead),
        ..
    }) = &node.value
    else {
        return node.mark;
    };
    let before = text[..offset].chars().count() as u32;
    Mark {
        column: node.mark.column + lead + before,
        ..node.mark
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The first `count` times after `from`, in UTC.
    fn next(text: &str, time_zone: Option<&str>, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule {
            text: text.into(),
            time_zone: time_zone.map(Into::into),
            times: times(text, time_zone)
                .map_err(|problem| problem.message)
                .expect(text),
        };
        let from: Timestamp = from.parse().expect("a time");
        std::iter::successors(schedule.next_after(from), |time| schedule.next_after(*time))
            .take(count)
            .map(|time| time.to_string())
            .collect()
    }

    /// Schedules, each with the next times of version 3.0.1 of `github.com/robfig/cron` after
    /// the two [`AFTER`], or `refused`.
    const TIMES: &str = include_str!("schedule/times.txt");
    const AFTER: [&str; 2] = ["2024-02-28T23:59:30Z", "2026-11-30T12:34:56Z"];

    #[test]
    fn schedules_are_read_as_kubernetes_reads_them() {
        let mut accepted = 0;
        for line in TIMES.lines() {
            let cells: Vec<&str> = line.split(" | ").collect();
            let parsed = times(cells[0], None);
            let Ok(times) = parsed else {
                assert_eq!(cells[1..], ["refused"], "{line}");
                continue;
            };
            let schedule = Schedule {
                text: cells[0].into(),
                time_zone: None,
                times,
            };
            let next = AFTER.map(|after| {
                let next = schedule.next_after(after.parse().expect("a time"));
                next.map_or("never".into(), |time| time.to_string())
            });
            assert_eq!(cells[1..], next, "{line}");
            accepted += 1;
        }
        assert!(accepted >= 60, "{accepted}");
    }

    #[test]
    fn fields_names_and_periods_are_parsed() {
        let from = "2026-01-31T23:59:59.5Z";
        assert_eq!(
            next("*/20 3 * * ?", None, from, 2),
            ["2026-02-01T03:00:00Z", "2026-02-01T03:20:00Z"]
        );
        assert_eq!(
            next("0 12 * feb mon-wed", None, from, 1),
            ["2026-02-02T12:00:00Z"]
        );
        assert_eq!(next("@monthly", None, from, 1), ["2026-02-01T00:00:00Z"]);
        assert_eq!(
            next("@every 1m30s", None, from, 2),
            ["2026-02-01T00:01:29Z", "2026-02-01T00:02:59Z"]
        );
    }

    #[test]
    fn day_of_month_and_day_of_week_are_alternatives() {
        // The 13th, and every Friday.
        assert_eq!(
            next("0 0 13 * 5", None, "2026-01-08T00:00:00Z", 3),
            [
                "2026-01-09T00:00:00Z",
                "2026-01-13T00:00:00Z",
                "2026-01-16T00:00:00Z"
            ]
        );
    }

    #[test]
    fn hour_that_does_not_exist_is_skipped() {
        // On 2026-03-29, Berlin goes from 02:00 to 03:00.
        assert_eq!(
            next(
                "30 2 * * *",
                Some("Europe/Berlin"),
                "2026-03-28T00:00:00Z",
                2
            ),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn hour_that_exists_twice_matches_twice() {
        // On 2026-10-25 Berlin goes from 03:00 back to 02:00.
        assert_eq!(
            next(
                "30 2 * * *",
                Some("Europe/Berlin"),
                "2026-10-24T12:00:00Z",
                3
            ),
            [
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-26T01:30:00Z"
            ]
        );
    }

    #[test]
    fn zones_with_half_hours_are_supported() {
        assert_eq!(
            next("0 0 * * *", Some("Asia/Kolkata"), "2026-05-01T00:00:00Z", 1),
            ["2026-05-01T18:30:00Z"]
        );
    }
}
