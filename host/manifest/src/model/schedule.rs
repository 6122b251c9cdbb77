//! When a CronJob's Jobs start.
//!
//! The five fields of cron in the CronJob's time zone, or `@every`. Where clocks
//! are set forward, times that do not exist are left out; where they are set
//! back, times that exist twice are met twice, as a cluster does it. The
//! present time is always given from outside.

use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp};

/// `spec.schedule` with `spec.timeZone`.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As written.
    pub text: String,
    /// An IANA name; UTC where the manifest names none.
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
    /// The first time after `time`; None where there is none in four years, as
    /// for the 30th of February.
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

    /// Whether two times of it can lie within one minute.
    pub fn is_finer_than_minutes(&self) -> bool {
        matches!(&self.times, Times::Every(period) if *period < Duration::from_secs(60))
    }
}
