//! `%START_TIME(…)%`: the format of `strftime`, in UTC, with Envoy's fractions of a second.

use std::fmt::Write;
use std::time::Duration;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

/// A date of the Gregorian calendar.
struct Date {
    year: u64,
    /// From 1.
    month: u64,
    day: u64,
    /// From 1.
    day_of_year: u64,
}

/// `time` since 1970 in `format`; the default format if it is empty. What is unknown in a
/// format stays.
pub(super) fn format(format: &str, time: Duration) -> String {
    let format = if format.is_empty() { DEFAULT } else { format };
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (digits, after) = after.split_at(end);
        let mut characters = after.chars();
        let Some(directive) = characters.next() else {
            let _ = write!(text, "%{digits}");
            return text;
        };
        write_directive(&mut text, digits, directive, time);
        rest = characters.as_str();
    }
    text.push_str(rest);
    text
}

fn write_directive(text: &mut String, digits: &str, directive: char, time: Duration) {
    let seconds = time.as_secs();
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let half = if hour < 12 { "AM" } else { "PM" };
    let date = Date::of(days);
    let nested = |inner: &str| format(inner, time);
    let name = |names: &[&str], number: u64| {
        let name = usize::try_from(number)
            .ok()
            .and_then(|it| names.get(it).copied());
        name.unwrap_or_default().to_owned()
    };
    let value = match (directive, digits) {
        ('f', digits) => {
            let places = digits.parse::<usize>().unwrap_or(9).clamp(1, 9);
            let all = std::format!("{:09}", time.subsec_nanos());
            all.get(..places).unwrap_or_default().to_owned()
        }
        (other, digits) if !digits.is_empty() => std::format!("%{digits}{other}"),
        ('s', _) => seconds.to_string(),
        ('Y', _) => date.year.to_string(),
        ('y', _) => std::format!("{:02}", date.year % 100),
        ('m', _) => std::format!("{:02}", date.month),
        ('d', _) => std::format!("{:02}", date.day),
        ('e', _) => std::format!("{:2}", date.day),
        ('j', _) => std::format!("{:03}", date.day_of_year),
        ('H', _) => std::format!("{hour:02}"),
        ('I', _) => std::format!("{:02}", (hour + 11) % 12 + 1),
        ('M', _) => std::format!("{minute:02}"),
        ('S', _) => std::format!("{second:02}"),
        ('p', _) => half.to_owned(),
        ('Z', _) => "UTC".to_owned(),
        ('z', _) => "+0000".to_owned(),
        // 1970 began on a Thursday.
        ('A', _) => name(&DAYS, (days + 4) % 7),
        ('a', _) => name(&DAYS, (days + 4) % 7).chars().take(3).collect(),
        ('B', _) => name(&MONTHS, date.month - 1),
        ('b' | 'h', _) => name(&MONTHS, date.month - 1).chars().take(3).collect(),
        ('F', _) => nested("%Y-%m-%d"),
        ('T', _) => nested("%H:%M:%S"),
        ('R', _) => nested("%H:%M"),
        ('D', _) => nested("%m/%d/%y"),
        ('n', _) => String::new(),
        ('t', _) => "\t".to_owned(),
        ('%', _) => "%".to_owned(),
        (other, _) => std::format!("%{other}"),
    };
    text.push_str(&value);
}

impl Date {
    /// The date of a day since 1970.
    fn of(days: u64) -> Self {
        let (mut year, mut left) = (1970, days);
        while left >= length_of(year) {
            left -= length_of(year);
            year += 1;
        }
        let day_of_year = left + 1;
        let is_leap = length_of(year) == 366;
        let lengths = [
            31,
            if is_leap { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ];
        let mut month = 1;
        for length in lengths {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
            day_of_year,
        }
    }
}

fn length_of(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_envoy_does() {
        let time = Duration::new(1_796_066_579, 683_135_000);
        for (text, expected) in [
            ("", "2026-11-30T19:22:59.683Z"),
            ("%s", "1796066579"),
            ("%Y/%m/%dT%H:%M:%S.%3f", "2026/11/30T19:22:59.683"),
            (
                "%s.%3f|%s.%6f %9f %f",
                "1796066579.683|1796066579.683135 683135000 683135000",
            ),
            ("abc", "abc"),
            (
                "%a %A %b %B %j %e %p %I",
                "Mon Monday Nov November 334 30 PM 07",
            ),
            (
                "%F %T %D %R %y %Z %z %%",
                "2026-11-30 19:22:59 11/30/26 19:22 26 UTC +0000 %",
            ),
            ("%Q %5Y %", "%Q %5Y %"),
        ] {
            assert_eq!(format(text, time), expected, "{text}");
        }
        for (seconds, expected) in [
            (0, "1970-01-01 001"),
            (951_782_400, "2000-02-29 060"),
            (1_709_251_199, "2024-02-29 060"),
            (1_735_689_599, "2024-12-31 366"),
            (4_107_542_400, "2100-03-01 060"),
        ] {
            let text = format("%F %j", Duration::from_secs(seconds));
            assert_eq!(text, expected, "{seconds}");
        }
    }
}
