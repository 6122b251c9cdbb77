//! `schedule` and `timeZone`: the syntax of a cluster's parser, with the position of each
//! error.

use std::time::Duration;

use cronexpr::{FallbackTimezoneOption, ParseOptions};

use crate::codes;
use crate::decode::{Decoder, did_you_mean, non_empty};
use crate::model::{Schedule, Times};
use crate::yaml::{Mark, Node, Scalar, Value};

const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];

const FORM: &str = "write five fields (minute, hour, day of month, month, day of week), as in `0 3 * * *`, or `@hourly`";

/// Abbreviations of five fields.
const NAMED: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A name of the IANA database, in its exact case, as in a cluster.
pub(super) fn time_zone(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    let known = jiff::tz::TimeZone::get(&name).ok();
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
    let problem = |offset, message: String| Err(Problem { offset, message });
    let start = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    if trimmed.starts_with("TZ=") || trimmed.starts_with("CRON_TZ=") {
        let message = "a time zone is not allowed here; set it in `timeZone`";
        return problem(start, message.to_owned());
    }
    if let Some(period) = trimmed.strip_prefix("@every ") {
        return match every(period.trim()) {
            Some(period) => Ok(Times::Every(period)),
            None => problem(
                start,
                "`@every` needs a duration of at least one second, as in `@every 90m` or `@every 1h30m`"
                    .to_owned(),
            ),
        };
    }
    let named = NAMED.iter().find(|(name, _)| *name == trimmed);
    if named.is_none() && trimmed.starts_with('@') {
        let hint = did_you_mean(trimmed, NAMED.iter().map(|(name, _)| *name));
        let form = if hint.is_empty() {
            format!("; {FORM}")
        } else {
            String::new()
        };
        return problem(start, format!("there is no such name{hint}{form}"));
    }
    let fields = match named {
        Some((_, fields)) => words(fields),
        None => words(text),
    };
    if fields.len() != FIELDS.len() {
        let offset = fields
            .get(FIELDS.len())
            .map_or(start, |(offset, _)| *offset);
        let count = fields.len();
        return problem(offset, format!("it has {count} fields; {FORM}"));
    }
    for ((offset, field), name) in fields.iter().zip(FIELDS) {
        if let Some(extension) = field.split([',', '-', '/']).find(|part| is_extension(part)) {
            let message =
                format!("{name}: `{extension}` is not known to Kubernetes; name the days");
            return problem(*offset, message);
        }
    }
    crontab(&fields, time_zone)
}

fn crontab(fields: &[(usize, &str)], time_zone: Option<&str>) -> Result<Times, Problem> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let written: Vec<&str> = fields.iter().map(|(_, field)| *field).collect();
    // In Kubernetes `?` is the same as `*`.
    let expression = written.join(" ").replace('?', "*");
    let parse = |fields: &str| cronexpr::parse_crontab_with(fields, options);
    for (at, ((offset, field), name)) in fields.iter().zip(FIELDS).enumerate() {
        let mut alone = ["*"; FIELDS.len()];
        let field = field.replace('?', "*");
        alone[at] = &field;
        if let Err(error) = parse(&alone.join(" ")) {
            let reason = reason(&error.to_string());
            return Err(Problem {
                offset: *offset,
                message: format!("{name} `{field}`: {reason}"),
            });
        }
    }
    let whole = match time_zone {
        Some(zone) => format!("{expression} {zone}"),
        None => expression,
    };
    match parse(&whole) {
        Ok(crontab) => Ok(Times::Cron(Box::new(crontab))),
        Err(error) => Err(Problem {
            offset: 0,
            message: reason(&error.to_string()),
        }),
    }
}

/// The parser marks the position below the text; its reason follows the mark.
fn reason(error: &str) -> String {
    let last = error.lines().last().unwrap_or(error);
    last.trim_start().trim_start_matches("^ ").to_owned()
}

/// `L`, `15W`, `5#2` and `H` belong to other schedulers.
fn is_extension(part: &str) -> bool {
    let digits = part.trim_end_matches(['L', 'W', 'l', 'w']);
    let marked = digits.len() < part.len() && digits.bytes().all(|byte| byte.is_ascii_digit());
    marked || part.contains('#') || part.eq_ignore_ascii_case("h")
}

/// Whole seconds in Go's syntax: `1h30m`, `45s`.
fn every(text: &str) -> Option<Duration> {
    let parsed: jiff::SignedDuration = text.parse().ok()?;
    let seconds = u64::try_from(parsed.as_secs()).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The words of `text`, each with its byte offset.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = 0;
    for word in text.split_ascii_whitespace() {
        let offset = text[rest..].find(word).map_or(rest, |found| rest + found);
        words.push((offset, word));
        rest = offset + word.len();
    }
    words
}

/// The position of a byte in a scalar, or of the scalar itself if its text differs from what
/// is written.
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
        // On 2026-03-29 Berlin goes from 02:00 to 03:00.
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
    fn hour_that_exists_twice_counts_twice() {
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
    fn half_hour_zones_and_the_end_of_a_day_are_exact() {
        assert_eq!(
            next("0 0 * * *", Some("Asia/Kolkata"), "2026-05-01T00:00:00Z", 1),
            ["2026-05-01T18:30:00Z"]
        );
    }
}
