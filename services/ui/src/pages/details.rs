//! A product with its description, its reviews, and a form to write one.

use maud::{Markup, html};

use super::rating::{average_tenths, stars, words};
use super::{Shell, artwork, category_name};
use crate::products::{Details, Review};
use crate::review_form::{AUTHOR_CHARS_MAX, DESC_CHARS_MAX, FormValues, Mistakes, RATING_MAX};

/// The state of the form on this page.
#[derive(Debug)]
pub(crate) enum ReviewSection {
    /// The form has not been sent.
    Empty,
    /// The last review was stored.
    Posted,
    /// The form has mistakes.
    Mistaken {
        typed: FormValues,
        mistakes: Mistakes,
    },
    /// The form is valid, but the review was not stored.
    NotStored { typed: FormValues, reason: String },
}

pub(crate) fn details_page(shell: &Shell, details: &Details, section: &ReviewSection) -> Markup {
    let product = &details.product;
    let content = html! {
        div.wrap {
            nav.trail aria-label="Breadcrumb" {
                a href="/ui" { "Catalogue" }
                span aria-hidden="true" { "/" }
                span aria-current="page" { (product.name) }
            }
            article.product {
                div.art { (artwork::product(product.product_id, &product.category)) }
                div.about {
                    p.category { (category_name(&product.category)) }
                    h1 { (product.name) }
                    @if let Some(average) = details.reviews.as_deref().and_then(average_tenths) {
                        p.score {
                            (stars(average))
                            a href="#reviews" { (words(average)) " out of " (RATING_MAX) }
                        }
                    }
                    p.description { (product.description) }
                    p { (shell.price(&product.price)) }
                }
            }
            section.opinions aria-labelledby="reviews" {
                div {
                    h2 #reviews { "Reviews" }
                    @if matches!(section, ReviewSection::Posted) {
                        p.notice.good role="status" { "Thank you! Your review is stored." }
                    }
                    (reviews(details.reviews.as_deref()))
                }
                (review_form(product.product_id, section))
            }
        }
    };
    shell.page(&product.name, Some(&details.version), &content)
}

fn reviews(reviews: Option<&[Review]>) -> Markup {
    html! {
        @match reviews {
            None => p.notice { "Reviews cannot be shown right now. Everything else works." },
            Some([]) => p.notice { "Nobody has reviewed this yet. Be the first." },
            Some(reviews) => ol.reviews { @for review in reviews { li { (review_card(review)) } } },
        }
    }
}

fn review_card(review: &Review) -> Markup {
    let rating_tenths = u64::from(review.rating) * 10;
    html! {
        article.review {
            header {
                (stars(rating_tenths))
                span.visually-hidden { (review.rating) " out of " (RATING_MAX) }
                strong { (review.author) }
                time datetime=(review.review_date) { (day(&review.review_date)) }
            }
            @if !review.desc.is_empty() { p { (review.desc) } }
        }
    }
}

/// The day of an RFC 3339 time, as `9 March 2025`; any other text unchanged.
fn day(time: &str) -> String {
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
    let date = time.split_once('T').map_or(time, |(date, _)| date);
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let month = month
        .and_then(|month| month.parse::<usize>().ok())
        .and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (year, month, day.and_then(|day| day.parse::<u8>().ok())) {
        (Some(year), Some(month), Some(day)) => format!("{day} {month} {year}"),
        _ => date.to_owned(),
    }
}

fn review_form(product_id: i64, section: &ReviewSection) -> Markup {
    let untouched = (FormValues::default(), Mistakes::default());
    let (typed, mistakes) = match section {
        ReviewSection::Empty | ReviewSection::Posted => (&untouched.0, &untouched.1),
        ReviewSection::Mistaken { typed, mistakes } => (typed, mistakes),
        ReviewSection::NotStored { typed, .. } => (typed, &untouched.1),
    };
    html! {
        form.write method="post" action={ "/ui/product/" (product_id) "/review#write" } {
            h2 #write { "Write a review" }
            @match section {
                ReviewSection::Mistaken { .. } => {
                    p.notice.bad role="alert" { "Your review was not sent yet. Please look at the marked fields." }
                },
                ReviewSection::NotStored { reason, .. } => { p.notice.bad role="alert" { (reason) } },
                _ => {}
            }
            div.field {
                label for="author" { "Your name" }
                input #author type="text" name="author" value=(typed.author) required
                    maxlength=(AUTHOR_CHARS_MAX) autocomplete="nickname"
                    aria-invalid=[mistakes.author.as_ref().map(|_| "true")]
                    aria-describedby=[mistakes.author.as_ref().map(|_| "author-mistake")];
                (mistake("author-mistake", mistakes.author.as_deref()))
            }
            div.field {
                label for="rating" { "Rating" }
                select #rating name="rating" required
                    aria-invalid=[mistakes.rating.as_ref().map(|_| "true")]
                    aria-describedby=[mistakes.rating.as_ref().map(|_| "rating-mistake")] {
                    option value="" { "Choose…" }
                    @for rating in (1..=RATING_MAX).rev() {
                        option value=(rating) selected[typed.rating.trim() == rating.to_string()] {
                            (rating) (rating_hint(rating))
                        }
                    }
                }
                (mistake("rating-mistake", mistakes.rating.as_deref()))
            }
            div.field {
                label for="desc" { "What do you think? " span.optional { "(optional)" } }
                textarea #desc name="desc" rows="5" maxlength=(DESC_CHARS_MAX)
                    aria-invalid=[mistakes.desc.as_ref().map(|_| "true")]
                    aria-describedby=[mistakes.desc.as_ref().map(|_| "desc-mistake")] {
                    (typed.desc)
                }
                (mistake("desc-mistake", mistakes.desc.as_deref()))
            }
            button type="submit" { "Send review" }
        }
    }
}

fn mistake(id: &str, text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.mistake id=(id) { (text) } } }
}

/// The meaning of the lowest and the highest rating.
fn rating_hint(rating: u8) -> &'static str {
    match rating {
        RATING_MAX => " (best)",
        1 => " (worst)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn review_shows_its_day() {
        assert_eq!(day("2025-03-09T09:00:00Z"), "9 March 2025");
        for odd in ["yesterday", "2025-13-09", "2025-00-09", "", "2025-03-<b>"] {
            assert_eq!(day(odd), odd);
        }
    }
}
