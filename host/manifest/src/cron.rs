//! Cron expressions as Kubernetes reads them, which is the `ParseStandard` of
//! `github.com/robfig/cron/v3`:
//!
//! - There are five fields; [`Field`] describes their syntax. `L`, `W`, `#`, `H` and a day
//!   of week 7 are unknown.
//! - A day must match both of its fields if one of them is `*` or `?`, otherwise one match
//!   is enough. `*/2` does not count as `*` here.
//! - A time matches by the local clock. Where clocks go forward, times that do not exist are
//!   skipped; where they go back, times that exist twice match twice.
//! - The search ends after five years.
//!
//! There is one intended difference: near transitions that skip or repeat midnight, or that
//! are not a whole hour, the Go implementation misses times and sometimes returns a wrong
//! day. Here, exactly the instants whose local time matches are returned.

mod field;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use field::{Field, SPECS};

/// The number of fields in an expression.
pub(crate) const FIELDS: usize = 5;

/// The search ends when no time of this many years matches.
const YEARS_MAX: i16 = 5;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cron {
    minutes: Field,
    hours: Field,
    days_of_month: Field,
    months: Field,
    days_of_week: Field,
}

impl Cron {
    /// # Errors
    /// The index of the invalid field, and what is wrong with it.
    pub(crate) fn parse(fields: [&str; FIELDS]) -> Result<Self, (usize, String)> {
        let field = |index: usize| {
            let parsed = Field::parse(fields[index], &SPECS[index]);
            parsed.map_err(|message| (index, message))
        };
        Ok(Self {
            minutes: field(0)?,
            hours: field(1)?,
            days_of_month: field(2)?,
            months: field(3)?,
            days_of_week: field(4)?,
        })
    }

    /// The first time after `after`; `None` if there is none within [`YEARS_MAX`].
    pub(crate) fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut time = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
        let year_max = zone.to_datetime(time).year() + YEARS_MAX;
        let mut transition = transition_after(time, zone);
        loop {
            let local = zone.to_datetime(time);
            if local.year() > year_max {
                return None;
            }
            let Some(ahead) = self.ahead(local) else {
                return Some(time);
            };
            // The local clock is continuous only up to the next transition.
            time = time.checked_add(ahead).ok()?.min(transition);
            if time == transition {
                transition = transition_after(time, zone);
            }
        }
    }

    /// How far the local clock must advance until a field that does not match changes; `None`
    /// if all fields match.
    fn ahead(&self, local: DateTime) -> Option<SignedDuration> {
        let (hour, minute, second) = (local.hour(), local.minute(), local.second());
        let of_hour = i64::from(minute) * 60 + i64::from(second);
        let seconds = if !self.matches_day(local.date()) {
            24 * 3_600 - i64::from(hour) * 3_600 - of_hour
        } else if !self.hours.contains(hour) {
            3_600 - of_hour
        } else if second != 0 || !self.minutes.contains(minute) {
            60 - i64::from(second)
        } else {
            return None;
        };
        Some(SignedDuration::from_secs(seconds))
    }

    fn matches_day(&self, date: Date) -> bool {
        let (of_month, of_week) = (self.days_of_month, self.days_of_week);
        let in_month = of_month.contains(date.day());
        let in_week = of_week.contains(date.weekday().to_sunday_zero_offset());
        let matches = if of_month.is_star() || of_week.is_star() {
            in_month && in_week
        } else {
            in_month || in_week
        };
        matches && self.months.contains(date.month())
    }
}

/// The next time at which the offset of `zone` changes.
fn transition_after(time: Timestamp, zone: &TimeZone) -> Timestamp {
    let next = zone.following(time).next();
    next.map_or(Timestamp::MAX, |transition| transition.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 7] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect(name)
    }

    fn parse(text: &str) -> Cron {
        let fields: Vec<&str> = text.split_whitespace().collect();
        Cron::parse(fields.try_into().expect("five fields")).expect(text)
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// Expressions with a time zone and a time, and the next time of version 3.0.1 of the Go
    /// implementation.
    const TIMES: &[(&str, &str, &str, &str)] = &[
        // Steps, and wrap-around of every field.
        (
            "0/15 * * * *",
            "UTC",
            "2012-07-09T14:45:00Z",
            "2012-07-09T15:00:00Z",
        ),
        (
            "0/15 * * * *",
            "UTC",
            "2012-07-09T14:59:59Z",
            "2012-07-09T15:00:00Z",
        ),
        (
            "20-35/15 * * * *",
            "UTC",
            "2012-07-09T15:45:00Z",
            "2012-07-09T16:20:00Z",
        ),
        (
            "20-35/15 1/2 */2 * *",
            "UTC",
            "2012-07-09T23:35:51Z",
            "2012-07-11T01:20:00Z",
        ),
        (
            "20-35/15 * 9-20 Jul *",
            "UTC",
            "2012-07-09T23:35:51Z",
            "2012-07-10T00:20:00Z",
        ),
        (
            "0 0 9 Apr-Oct ?",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2012-08-09T00:00:00Z",
        ),
        (
            "* * * * *",
            "UTC",
            "2012-12-31T23:59:45Z",
            "2013-01-01T00:00:00Z",
        ),
        (
            "0 0 29 FEB ?",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2016-02-29T00:00:00Z",
        ),
        // Either day matches, because `*/5` is not `*`.
        (
            "0 0 */5 Apr,Aug,Oct Mon",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2012-08-01T00:00:00Z",
        ),
        (
            "0 0 */5 Oct Mon",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2012-10-01T00:00:00Z",
        ),
        // Both days must match, because one is `*`.
        (
            "0 0 * Feb Mon",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2013-02-04T00:00:00Z",
        ),
        (
            "0 0 */1 Feb Mon",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2013-02-04T00:00:00Z",
        ),
        (
            "0 0 * Feb Mon/2",
            "UTC",
            "2012-07-09T23:35:00Z",
            "2013-02-01T00:00:00Z",
        ),
        // Clocks go forward from 02:00 to 03:00.
        (
            "30 2 11 Mar ?",
            "America/New_York",
            "2012-03-11T05:00:00Z",
            "2013-03-11T06:30:00Z",
        ),
        (
            "0 * * * ?",
            "America/New_York",
            "2012-03-11T06:00:00Z",
            "2012-03-11T07:00:00Z",
        ),
        (
            "0 2 * * ?",
            "America/New_York",
            "2012-03-11T05:00:00Z",
            "2012-03-12T06:00:00Z",
        ),
        // Clocks go back from 02:00 to 01:00.
        (
            "30 2 04 Nov ?",
            "America/New_York",
            "2012-11-04T04:00:00Z",
            "2012-11-04T07:30:00Z",
        ),
        (
            "30 1 04 Nov ?",
            "America/New_York",
            "2012-11-04T05:45:00Z",
            "2012-11-04T06:30:00Z",
        ),
        (
            "0 * * * ?",
            "America/New_York",
            "2012-11-04T05:00:00Z",
            "2012-11-04T06:00:00Z",
        ),
        (
            "0 1 * * ?",
            "America/New_York",
            "2012-11-04T05:00:00Z",
            "2012-11-04T06:00:00Z",
        ),
        (
            "0 1 * * ?",
            "America/New_York",
            "2012-11-04T06:00:00Z",
            "2012-11-05T06:00:00Z",
        ),
        // Clocks go forward from midnight.
        (
            "0 9 10 * ?",
            "America/Sao_Paulo",
            "2018-10-17T09:00:00Z",
            "2018-11-10T11:00:00Z",
        ),
        (
            "0 9 22 * ?",
            "America/Sao_Paulo",
            "2018-02-14T10:00:00Z",
            "2018-02-22T12:00:00Z",
        ),
    ];

    #[test]
    fn times_are_those_of_kubernetes() {
        for (text, name, after, expected) in TIMES {
            let next = parse(text).next_after(time(after), &zone(name));
            assert_eq!(next, Some(time(expected)), "{text} {name} {after}");
        }
        for text in ["0 0 30 Feb ?", "0 0 31 Apr ?", ", * * * *"] {
            let next = parse(text).next_after(time("2012-07-09T23:35:00Z"), &TimeZone::UTC);
            assert_eq!(next, None, "{text}");
        }
    }

    #[test]
    fn transitions_of_half_an_hour_skip_no_hour() {
        // On 2026-10-04 Lord Howe Island goes from 02:00 to 02:30.
        let next = parse("0 3 * * *")
            .next_after(time("2026-10-03T12:00:00Z"), &zone("Australia/Lord_Howe"));
        assert_eq!(next, Some(time("2026-10-03T16:00:00Z")));
    }

    fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
        let range = (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        let one = prop_oneof![
            2 => Just("*".to_owned()),
            1 => (min..=max).prop_map(|it| it.to_string()),
            1 => range,
        ];
        let step = (one, proptest::option::of(1..=max)).prop_map(|(one, step)| match step {
            Some(step) => format!("{one}/{step}"),
            None => one,
        });
        proptest::collection::vec(step, 1..3).prop_map(|parts| parts.join(","))
    }

    proptest! {
        /// Checked against a search that looks at every minute.
        #[test]
        fn next_time_is_the_first_minute_that_matches(
            fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
            name in proptest::sample::select(&ZONES[..]),
            // 2000 to 2030.
            second in 946_684_800_i64..1_893_456_000,
        ) {
            let fields = [&*fields.0, &*fields.1, &*fields.2, &*fields.3, &*fields.4];
            let cron = Cron::parse(fields).expect("valid fields");
            let after = Timestamp::from_second(second).expect("in range");
            let zone = zone(name);
            let next = cron.next_after(after, &zone);
            let minutes = (second / 60 + 1..).map(|minute| {
                Timestamp::from_second(minute * 60).expect("in range")
            });
            let first = minutes
                .take(40 * 24 * 60)
                .find(|time| cron.ahead(zone.to_datetime(*time)).is_none());
            let is_later = next.is_none_or(|next| {
                let days = next.duration_since(after).as_hours() / 24;
                days >= 39 && cron.ahead(zone.to_datetime(next)).is_none()
            });
            match first {
                Some(first) => prop_assert_eq!(next, Some(first)),
                None => prop_assert!(is_later),
            }
        }

        #[test]
        fn no_text_panics(fields in proptest::array::uniform5("[-*?/,0-9a-z+]{0,6}")) {
            let fields = [&*fields[0], &*fields[1], &*fields[2], &*fields[3], &*fields[4]];
            if let Ok(cron) = Cron::parse(fields) {
                cron.next_after(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
            }
        }
    }
}
