//! The pages. `maud` escapes every value; only constants are inserted unescaped.

mod artwork;
pub(crate) mod catalogue;
pub(crate) mod details;
mod rating;

use maud::{DOCTYPE, Markup, html};

use crate::Edition;
use crate::assets::{MARK, style};
use crate::failure::Failure;
use crate::price::Price;

/// What all pages of a storefront share.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) edition: Edition,
    pub(crate) version: String,
    /// The currency sign before a price.
    pub(crate) currency: String,
}

impl Shell {
    /// A complete page. `served_by` is the version of the product service that responded,
    /// if any.
    fn page(&self, title: &str, served_by: Option<&str>, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Shopping Portal" }
                    link rel="icon" type="image/svg+xml" href=(MARK.address());
                    link rel="stylesheet" href=(style(self.edition).address());
                }
                body {
                    a.skip href="#content" { "Skip to content" }
                    header.masthead {
                        div.wrap {
                            a.brand href="/ui" {
                                (artwork::mark())
                                span { "Shopping Portal" }
                            }
                            @if self.edition == Edition::V2 {
                                span.edition { "New look" }
                            }
                        }
                    }
                    main #content { (content) }
                    footer.colophon {
                        div.wrap {
                            span { (self.version) }
                            @if let Some(served_by) = served_by {
                                span { (served_by) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn price(&self, price: &Price) -> Markup {
        html! { span.price { span.currency { (self.currency) } (price) } }
    }
}

/// The page that is shown if the requested page cannot be.
pub(crate) fn failure_page(shell: &Shell, failure: &Failure) -> Markup {
    let content = html! {
        div.wrap.failure {
            (artwork::closed())
            h1 { (failure.title) }
            p { (failure.text) }
            p { a.button href="/ui" { "Go to the catalogue" } }
            p.code { "Status " (failure.status.as_u16()) }
        }
    };
    shell.page(failure.title, None, &content)
}

/// The name of a category code; an unknown code is its own name.
fn category_name(category: &str) -> &str {
    match category {
        "1" => "Phones",
        "2" => "Laptops",
        "3" => "Audio",
        "4" => "Cameras",
        "5" => "Wearables",
        "6" => "Home",
        other => other,
    }
}
