//! One field of a cron expression.

/// The values that a field contains, from a list of ranges separated by commas:
///
/// - `*` or `?`: all values
/// - `N`, `N-M`: one value, all values from N to M
/// - `RANGE/STEP`: every STEP-th value of the range; `N/STEP` starts at N and ends at the
///   field's maximum
///
/// Months and days of week also have names of three letters, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// A bit per value.
    values: u64,
    is_star: bool,
}

/// What a field may contain.
#[derive(Debug)]
pub(super) struct FieldSpec {
    name: &'static str,
    min: u8,
    max: u8,
    /// The names of the values from `min` on.
    names: &'static [&'static str],
    /// For messages.
    values: &'static str,
}

/// The fields in their order.
pub(super) const SPECS: [FieldSpec; super::FIELDS] = [
    FieldSpec {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
        values: "0 to 59",
    },
    FieldSpec {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
        values: "0 to 23",
    },
    FieldSpec {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
        values: "1 to 31",
    },
    FieldSpec {
        name: "month",
        min: 1,
        max: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
        values: "1 to 12, or JAN to DEC",
    },
    FieldSpec {
        name: "day of week",
        min: 0,
        max: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        values: "0 to 6 (0 is Sunday), or SUN to SAT",
    },
];

impl Field {
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(super) fn parse(text: &str, spec: &FieldSpec) -> Result<Self, String> {
        let mut field = Self {
            values: 0,
            is_star: false,
        };
        for range in text.split(',').filter(|range| !range.is_empty()) {
            field
                .add(range, spec)
                .map_err(|problem| format!("{}: {problem}", spec.name))?;
        }
        Ok(field)
    }

    pub(super) fn contains(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.values & (1 << value) != 0)
    }

    /// Whether the field contains `*` or `?` without a step.
    pub(super) fn is_star(self) -> bool {
        self.is_star
    }

    fn add(&mut self, text: &str, spec: &FieldSpec) -> Result<(), String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self::step(step)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first, Some(last)),
            None => (range, None),
        };
        let is_star = matches!(first, "*" | "?");
        let (first, last) = if is_star {
            (spec.min, spec.max)
        } else {
            let first = spec.value(first)?;
            match (last, step) {
                (Some(last), _) => (first, spec.value(last)?),
                (None, Some(_)) => (first, spec.max),
                (None, None) => (first, first),
            }
        };
        if first > last {
            let FieldSpec { min, max, .. } = spec;
            return Err(format!(
                "the range `{range}` ends before it starts; write two ranges: `{first}-{max},{min}-{last}`"
            ));
        }
        let step = step.unwrap_or(1);
        let values = (first..=last).step_by(step);
        self.values |= values.fold(0, |bits, value| bits | 1 << value);
        self.is_star |= is_star && step == 1;
        Ok(())
    }
}

impl FieldSpec {
    fn value(&self, text: &str) -> Result<u8, String> {
        let mut names = self.names.iter();
        if let Some(index) = names.position(|name| name.eq_ignore_ascii_case(text)) {
            // There are at most twelve names.
            return Ok(self.min + index as u8);
        }
        let valid = self.values;
        if is_extension(text) {
            return Err(format!(
                "`{text}` is not supported by Kubernetes; write {valid}"
            ));
        }
        let value: u64 = text
            .parse()
            .map_err(|_| format!("`{text}` is not a value; write {valid}"))?;
        let in_range = u8::try_from(value).ok();
        in_range
            .filter(|value| (self.min..=self.max).contains(value))
            .ok_or_else(|| format!("{value} is out of range; write {valid}"))
    }
}

fn step(text: &str) -> Result<usize, String> {
    // Go's `int`, which is the limit in Kubernetes.
    match text.parse::<i64>().map(usize::try_from) {
        Ok(Ok(step)) if step > 0 => Ok(step),
        _ => Err(format!(
            "the step `{text}` is not a number of at least 1, as in `*/5`"
        )),
    }
}

/// `L`, `15W`, `5#2` and `H` are extensions of other schedulers.
fn is_extension(text: &str) -> bool {
    let digits = text.trim_end_matches(['L', 'W', 'l', 'w']);
    let marked = digits.len() < text.len() && digits.bytes().all(|byte| byte.is_ascii_digit());
    marked || text.contains('#') || text.eq_ignore_ascii_case("h")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: usize = 0;
    const HOUR: usize = 1;
    const DAY_OF_MONTH: usize = 2;
    const MONTH: usize = 3;
    const DAY_OF_WEEK: usize = 4;

    fn values(text: &str, field: usize) -> Vec<i8> {
        let field = Field::parse(text, &SPECS[field]).expect(text);
        (0..64).filter(|value| field.contains(*value)).collect()
    }
    fn error(text: &str, field: usize) -> String {
        Field::parse(text, &SPECS[field]).expect_err(text)
    }

    #[test]
    fn ranges_steps_and_names_are_understood() {
        assert_eq!(values("5", MINUTE), [5]);
        assert_eq!(values("+5,,05", MINUTE), [5]);
        assert_eq!(values("1-3,5", HOUR), [1, 2, 3, 5]);
        assert_eq!(values("20-35/15", MINUTE), [20, 35]);
        assert_eq!(values("50/4", MINUTE), [50, 54, 58]);
        assert_eq!(values("*/20", MINUTE), [0, 20, 40]);
        assert_eq!(values("*/100", MINUTE), [0]);
        assert_eq!(values("?", DAY_OF_WEEK), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(values("*/10", DAY_OF_MONTH), [1, 11, 21, 31]);
        assert_eq!(values("Jan,DEC", MONTH), [1, 12]);
        assert_eq!(values("mon-WED", DAY_OF_WEEK), [1, 2, 3]);
        assert_eq!(values("fri/1", DAY_OF_WEEK), [5, 6]);
    }

    #[test]
    fn only_a_star_without_a_step_is_a_star() {
        let is_star = |text| Field::parse(text, &SPECS[DAY_OF_MONTH]).map(Field::is_star);
        for star in ["*", "?", "*/1", "1,*"] {
            assert_eq!(is_star(star), Ok(true), "{star}");
        }
        for other in ["1-31", "*/2", "?/3", "1/1"] {
            assert_eq!(is_star(other), Ok(false), "{other}");
        }
    }

    #[test]
    fn messages_name_the_field_and_the_cure() {
        for (text, field, expected) in [
            ("60", MINUTE, "minute: 60 is out of range; write 0 to 59"),
            (
                "99999999999999999999999",
                HOUR,
                "hour: `99999999999999999999999` is not a value; write 0 to 23",
            ),
            (
                "7",
                DAY_OF_WEEK,
                "day of week: 7 is out of range; write 0 to 6 (0 is Sunday), or SUN to SAT",
            ),
            (
                "Monday",
                DAY_OF_WEEK,
                "day of week: `Monday` is not a value; write 0 to 6 (0 is Sunday), or SUN to SAT",
            ),
            (
                "mon",
                MONTH,
                "month: `mon` is not a value; write 1 to 12, or JAN to DEC",
            ),
            (
                "15W",
                DAY_OF_MONTH,
                "day of month: `15W` is not supported by Kubernetes; write 1 to 31",
            ),
            (
                "10-5",
                DAY_OF_MONTH,
                "day of month: the range `10-5` ends before it starts; write two ranges: `10-31,1-5`",
            ),
            (
                "1-2-3",
                MINUTE,
                "minute: `2-3` is not a value; write 0 to 59",
            ),
            (
                "*/0",
                MINUTE,
                "minute: the step `0` is not a number of at least 1, as in `*/5`",
            ),
            (
                "1/2/3",
                MINUTE,
                "minute: the step `2/3` is not a number of at least 1, as in `*/5`",
            ),
        ] {
            assert_eq!(error(text, field), expected);
        }
    }
}
