//! The start times of a CronJob's Jobs.
//!
//! A schedule has the five fields of cron in the CronJob's time zone, or `@every`. As in a
//! cluster, times that do not exist when clocks go forward are skipped, and times that exist
//! twice when clocks go back count twice. The caller passes the current time.

use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp};

/// `spec.schedule` with `spec.timeZone`.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As written.
    pub text: String,
    /// An IANA name; UTC by default.
    pub time_zone: Option<String>,
    pub(crate) times: Times,
}

#[derive(Debug, Clone)]
pub(crate) enum Times {
    Cron(Box<Crontab>),
    /// `@every`: a whole number of seconds, at least one.
    Every(Duration),
}

impl Schedule {
    /// The first time after `time`; None if there is none in four years, as for the 30th of
    /// February.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Cron(crontab) => {
                let next = crontab.find_next(MakeTimestamp(time)).ok()?;
                Some(next.timestamp())
            }
            Times::Every(period) => {
                let second = Timestamp::from_second(time.as_second()).ok()?;
                let period = SignedDuration::try_from(*period).ok()?;
                second.checked_add(period).ok()
            }
        }
    }

    /// Whether it can have two times within one minute.
    pub fn is_finer_than_minutes(&self) -> bool {
        matches!(&self.times, Times::Every(period) if *period < Duration::from_secs(60))
    }
}
