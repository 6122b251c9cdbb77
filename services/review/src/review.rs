//! A review, the validation of a new one, and the summary of several.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest texts of a review, in characters.
const AUTHOR_CHARS_MAX: usize = 60;
const DESC_CHARS_MAX: usize = 2000;

/// The scale of ratings.
const RATING_MIN: i64 = 1;
const RATING_MAX: i64 = 10;

/// A review, in the form that callers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review {
    pub(crate) id: i64,
    pub(crate) author: String,
    pub(crate) desc: String,
    pub(crate) rating: i64,
    /// When it was written: RFC 3339, UTC.
    pub(crate) review_date: String,
}

/// A review as callers send it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NewReview {
    pub(crate) author: String,
    #[serde(default)]
    pub(crate) desc: String,
    pub(crate) rating: i64,
}

/// An invalid field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidReview {
    #[error("author: must not be blank")]
    BlankAuthor,
    #[error("{field}: has {actual} characters, and at most {max} are allowed")]
    TooLong {
        field: &'static str,
        actual: usize,
        max: usize,
    },
    #[error("rating: must be from {RATING_MIN} to {RATING_MAX}, not {0}")]
    Rating(i64),
}

impl NewReview {
    /// The review with trimmed texts, if all of it is valid.
    pub(crate) fn checked(self) -> Result<Self, InvalidReview> {
        if !(RATING_MIN..=RATING_MAX).contains(&self.rating) {
            return Err(InvalidReview::Rating(self.rating));
        }
        let author = bounded("author", &self.author, AUTHOR_CHARS_MAX)?;
        if author.is_empty() {
            return Err(InvalidReview::BlankAuthor);
        }
        let desc = bounded("desc", &self.desc, DESC_CHARS_MAX)?;
        Ok(Self {
            author,
            desc,
            rating: self.rating,
        })
    }
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<String, InvalidReview> {
    let text = text.trim();
    let actual = text.chars().count();
    if actual > max {
        return Err(InvalidReview::TooLong { field, actual, max });
    }
    Ok(text.to_owned())
}

/// `unix_ms` as RFC 3339 in UTC. A time outside the calendar's range is shown as the
/// epoch.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// The summary of a product's reviews.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) product_id: i64,
    pub(crate) count: i64,
    /// The mean rating with two decimals; null without reviews.
    pub(crate) average: Option<f64>,
}

impl Summary {
    pub(crate) fn of(product_id: i64, count: i64, rating_sum: i64) -> Self {
        // Rounded to a whole number of hundredths, so that 8.33 stays 8.33.
        let hundredths = (count > 0).then(|| (rating_sum * 100 + count / 2) / count);
        let average = hundredths
            .and_then(|h| i32::try_from(h).ok())
            .map(|h| f64::from(h) / 100.0);
        Self {
            product_id,
            count,
            average,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_review(author: &str, rating: i64) -> NewReview {
        NewReview {
            author: author.to_owned(),
            desc: " Good. ".to_owned(),
            rating,
        }
    }

    #[test]
    fn texts_are_trimmed() {
        let checked = new_review(" Asha ", 9).checked().unwrap();
        assert_eq!(
            (checked.author.as_str(), checked.desc.as_str()),
            ("Asha", "Good.")
        );
    }

    #[test]
    fn ratings_range_from_1_to_10() {
        for rating in [1, 10] {
            assert!(new_review("Asha", rating).checked().is_ok());
        }
        for rating in [i64::MIN, -1, 0, 11, i64::MAX] {
            assert_eq!(
                new_review("Asha", rating).checked(),
                Err(InvalidReview::Rating(rating))
            );
        }
        let message = new_review("Asha", 11).checked().unwrap_err().to_string();
        assert_eq!(message, "rating: must be from 1 to 10, not 11");
    }

    #[test]
    fn author_name_is_required_and_limited() {
        assert_eq!(
            new_review("\t", 5).checked(),
            Err(InvalidReview::BlankAuthor)
        );
        let refused = new_review(&"x".repeat(AUTHOR_CHARS_MAX + 1), 5).checked();
        assert!(matches!(
            refused,
            Err(InvalidReview::TooLong {
                field: "author",
                ..
            })
        ));
    }

    #[test]
    fn average_is_rounded_to_hundredths() {
        assert_eq!(Summary::of(1, 3, 25).average, Some(8.33));
        assert_eq!(Summary::of(1, 3, 26).average, Some(8.67));
        assert_eq!(Summary::of(1, 0, 0).average, None);
    }

    #[test]
    fn dates_are_rfc_3339() {
        assert_eq!(rfc3339(1_552_122_000_000), "2019-03-09T09:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
