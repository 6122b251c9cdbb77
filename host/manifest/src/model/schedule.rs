//! The start times of a CronJob's Jobs.
//!
//! Either a cron expression in the CronJob's time zone, or `@every`. The current time is
//! always a parameter.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cron::Cron;

/// `spec.schedule` with `spec.timeZone`.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As in the manifest.
    pub text: String,
    /// An IANA name; `None` means UTC.
    pub time_zone: Option<String>,
    pub(crate) times: Times,
}

#[derive(Debug, Clone)]
pub(crate) enum Times {
    Cron {
        cron: Cron,
        zone: TimeZone,
    },
    /// `@every`: a whole number of seconds, at least one.
    Every(Duration),
}

impl Schedule {
    /// The first time after `time`; `None` if there is none within five years, as for the
    /// 30th of February.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Cron { cron, zone } => cron.next_after(time, zone),
            Times::Every(period) => {
                let second = Timestamp::from_second(time.as_second()).ok()?;
                let period = SignedDuration::try_from(*period).ok()?;
                second.checked_add(period).ok()
            }
        }
    }

    /// Whether two of its times can be less than a minute apart.
    pub fn is_finer_than_minutes(&self) -> bool {
        matches!(&self.times, Times::Every(period) if *period < Duration::from_secs(60))
    }
}
