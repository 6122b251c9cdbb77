//! Durations, as the host's flags and annotations have them.

use std::time::Duration;

/// `90s`, `1m30s`, `500ms`: more than zero, at most a day.
///
/// # Errors
/// `text` is not such a duration; the message says how to write one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "use a duration such as `30s`, `500ms` or `1m30s`".to_owned())?;
    let duration =
        Duration::try_from(parsed).map_err(|_| "a duration must not be negative".to_owned())?;
    if duration.is_zero() || duration > Duration::from_secs(86_400) {
        return Err("a duration must be more than zero and at most 24h".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "-1s", "0s", "25h", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
