//! The form for writing a review: the entered values and their validation.

use serde::{Deserialize, Serialize};

/// The limits of the review service, so that a mistake is explained next to its field and
/// without a call.
pub(crate) const AUTHOR_CHARS_MAX: usize = 60;
pub(crate) const DESC_CHARS_MAX: usize = 2000;
const RATING_MIN: u8 = 1;
pub(crate) const RATING_MAX: u8 = 10;

/// The values of the form's fields as entered.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct FormValues {
    #[serde(default)]
    pub(crate) author: String,
    #[serde(default)]
    pub(crate) rating: String,
    #[serde(default)]
    pub(crate) desc: String,
}

/// A valid review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Draft {
    author: String,
    desc: String,
    rating: u8,
}

/// The mistakes, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mistakes {
    pub(crate) author: Option<String>,
    pub(crate) rating: Option<String>,
    pub(crate) desc: Option<String>,
}

impl Mistakes {
    fn is_empty(&self) -> bool {
        self.author.is_none() && self.rating.is_none() && self.desc.is_none()
    }
}

impl FormValues {
    /// The review, or all mistakes in it.
    pub(crate) fn check(&self) -> Result<Draft, Mistakes> {
        let rating = self
            .rating
            .trim()
            .parse()
            .ok()
            .filter(|r| (RATING_MIN..=RATING_MAX).contains(r));
        let mistakes = Mistakes {
            author: if self.author.trim().is_empty() {
                Some("Please tell us your name.".to_owned())
            } else {
                too_long("name", &self.author, AUTHOR_CHARS_MAX)
            },
            rating: rating
                .is_none()
                .then(|| format!("Please choose a rating from {RATING_MIN} to {RATING_MAX}.")),
            desc: too_long("review", &self.desc, DESC_CHARS_MAX),
        };
        match rating {
            Some(rating) if mistakes.is_empty() => Ok(Draft {
                author: self.author.trim().to_owned(),
                desc: self.desc.trim().to_owned(),
                rating,
            }),
            _ => Err(mistakes),
        }
    }
}

fn too_long(what: &str, text: &str, max: usize) -> Option<String> {
    let actual = text.trim().chars().count();
    (actual > max)
        .then(|| format!("Your {what} has {actual} characters; please use at most {max}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(author: &str, rating: &str, desc: &str) -> FormValues {
        FormValues {
            author: author.to_owned(),
            rating: rating.to_owned(),
            desc: desc.to_owned(),
        }
    }

    #[test]
    fn complete_form_becomes_a_review() {
        let draft = typed(" Asha ", "9", " Good. ").check().unwrap();
        let expected = Draft {
            author: "Asha".into(),
            desc: "Good.".into(),
            rating: 9,
        };
        assert_eq!(draft, expected);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mistakes = typed(" ", "11", &"x".repeat(2001)).check().unwrap_err();
        assert!(mistakes.author.is_some() && mistakes.rating.is_some());
        assert_eq!(
            mistakes.desc.as_deref(),
            Some("Your review has 2001 characters; please use at most 2000.")
        );
    }

    #[test]
    fn invalid_ratings_are_rejected() {
        for rating in ["", "0", "-1", "11", "256", "9.5", "nine"] {
            let mistakes = typed("Asha", rating, "").check().unwrap_err();
            assert!(
                mistakes.rating.is_some() && mistakes.author.is_none(),
                "{rating:?}"
            );
        }
    }
}
