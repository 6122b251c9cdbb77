//! Ratings, as stars and as words.

use maud::{Markup, html};

use crate::products::Review;
use crate::review_form::RATING_MAX;

/// A five-pointed star in a box of 20 by 20.
const STAR: &str = "M10 1.6l2.6 5.5 6 .8-4.4 4.2 1.1 6L10 15.2l-5.3 2.9 1.1-6L1.4 7.9l6-.8z";

/// Tenths of a rating, so that averages are whole numbers.
const TENTHS: u64 = 10;

/// The mean of the ratings in tenths, rounded; `None` without reviews.
pub(super) fn average_tenths(reviews: &[Review]) -> Option<u64> {
    let count = u64::try_from(reviews.len())
        .ok()
        .filter(|count| *count > 0)?;
    let sum: u64 = reviews.iter().map(|review| u64::from(review.rating)).sum();
    Some((sum * TENTHS + count / 2) / count)
}

/// Five stars, filled in proportion to the rating.
pub(super) fn stars(rating_tenths: u64) -> Markup {
    let scale = u64::from(RATING_MAX) * TENTHS;
    let filled = rating_tenths.min(scale) * 100 / scale;
    html! {
        svg.stars viewBox="0 0 100 20" aria-hidden="true" {
            (row("empty"))
            svg width=(filled) height="20" viewBox={ "0 0 " (filled) " 20" } { (row("full")) }
        }
    }
}

fn row(class: &str) -> Markup {
    html! {
        @for index in 0..5 {
            path class=(class) d=(STAR) transform={ "translate(" (index * 20) ")" } {}
        }
    }
}

/// The rating as text: `8.7`, or `9` if it is a whole number.
pub(super) fn words(rating_tenths: u64) -> String {
    let (whole, tenths) = (rating_tenths / TENTHS, rating_tenths % TENTHS);
    if tenths == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{tenths}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviews(ratings: &[u8]) -> Vec<Review> {
        ratings
            .iter()
            .map(|&rating| Review {
                author: "Asha".to_owned(),
                desc: String::new(),
                rating,
                review_date: String::new(),
            })
            .collect()
    }

    #[test]
    fn average_is_rounded_to_tenths() {
        assert_eq!(average_tenths(&reviews(&[9, 8, 9])), Some(87));
        assert_eq!(average_tenths(&reviews(&[10, 10])), Some(100));
        assert_eq!(average_tenths(&[]), None);
        assert_eq!((words(87), words(100)), ("8.7".to_owned(), "10".to_owned()));
    }
}
