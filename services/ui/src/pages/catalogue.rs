//! The catalogue: every product as a card, in v2 with a form to search and sort.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::{Shell, artwork, category_name};
use crate::Edition;
use crate::products::{Catalogue, Product};

/// The orders that v2 offers: the product service's name and the label.
const ORDERS: [(&str, &str); 5] = [
    ("", "Featured"),
    ("price", "Price: low to high"),
    ("-price", "Price: high to low"),
    ("name", "Name: A to Z"),
    ("-name", "Name: Z to A"),
];

/// The longest search text that the product service accepts, in characters.
const SEARCH_CHARS_MAX: usize = 100;

/// The customer's query.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(crate) struct CatalogueQuery {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    search: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sort: String,
}

impl CatalogueQuery {
    /// The part of the query that the edition supports: an unknown order is ignored, and
    /// v1 supports neither searching nor sorting.
    pub(crate) fn for_edition(self, edition: Edition) -> Self {
        if edition == Edition::V1 {
            return Self::default();
        }
        let is_offered = ORDERS.iter().any(|(order, _)| *order == self.sort);
        Self {
            search: self.search.trim().chars().take(SEARCH_CHARS_MAX).collect(),
            sort: if is_offered { self.sort } else { String::new() },
        }
    }

    /// The query string for the product service, including `?`.
    pub(crate) fn for_product_service(&self) -> String {
        match serde_urlencoded::to_string(self) {
            Ok(query) if !query.is_empty() => format!("?{query}"),
            _ => String::new(),
        }
    }
}

pub(crate) fn catalogue_page(
    shell: &Shell,
    query: &CatalogueQuery,
    catalogue: &Catalogue,
) -> Markup {
    let products = &catalogue.products;
    let content = html! {
        div.hero {
            div.wrap {
                h1 { "Things made to last" }
                p { "A small selection, each piece chosen and tried by people who use it." }
                @if shell.edition == Edition::V2 { (finder(query)) }
            }
        }
        div.wrap {
            p.count role="status" {
                @match (products.len(), query.search.is_empty()) {
                    (1, true) => "1 product",
                    (count, true) => { (count) " products" },
                    (1, false) => { "1 product for “" (query.search) "”" },
                    (count, false) => { (count) " products for “" (query.search) "”" },
                }
            }
            @if products.is_empty() {
                div.empty {
                    p { "Nothing here fits." }
                    p { a.button href="/ui" { "Show everything" } }
                }
            } @else {
                ul.catalogue {
                    @for product in products { li { (card(shell, product)) } }
                }
            }
        }
    };
    shell.page("Catalogue", Some(&catalogue.version), &content)
}

fn card(shell: &Shell, product: &Product) -> Markup {
    html! {
        article.card {
            div.art { (artwork::product(product.product_id, &product.category)) }
            div.about {
                p.category { (category_name(&product.category)) }
                h2 {
                    a href={ "/ui/product/" (product.product_id) } { (product.name) }
                }
                p.description { (product.description) }
                (shell.price(&product.price))
            }
        }
    }
}

/// The form to search and sort.
fn finder(query: &CatalogueQuery) -> Markup {
    html! {
        form.finder role="search" action="/ui" method="get" {
            div.field {
                label for="search" { "Search" }
                input #search type="search" name="search" value=(query.search)
                    maxlength=(SEARCH_CHARS_MAX) placeholder="Headphones, lamp, …";
            }
            div.field {
                label for="sort" { "Sort by" }
                select #sort name="sort" {
                    @for (order, name) in ORDERS {
                        option value=(order) selected[query.sort == order] { (name) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(search: &str, sort: &str) -> CatalogueQuery {
        CatalogueQuery {
            search: search.to_owned(),
            sort: sort.to_owned(),
        }
    }

    #[test]
    fn query_is_encoded_for_the_product_service() {
        let asked = query("a&b=ü", "-price").for_edition(Edition::V2);
        assert_eq!(
            asked.for_product_service(),
            "?search=a%26b%3D%C3%BC&sort=-price"
        );
        assert_eq!(CatalogueQuery::default().for_product_service(), "");
    }

    #[test]
    fn unknown_order_is_ignored() {
        let asked = query(" lamp ", "colour").for_edition(Edition::V2);
        assert_eq!(asked.for_product_service(), "?search=lamp");
    }

    #[test]
    fn v1_sends_no_query() {
        let asked = query("lamp", "price").for_edition(Edition::V1);
        assert_eq!(asked.for_product_service(), "");
    }
}
