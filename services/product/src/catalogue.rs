//! Sorting and searching the catalogue, the new features of the canary.

use serde::Deserialize;
use shop_platform::Value;

/// The longest search text, in characters.
const SEARCH_CHARS_MAX: usize = 100;

/// The query string of the catalogue.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CatalogueQuery {
    #[serde(default)]
    sort: String,
    #[serde(default)]
    search: String,
}

/// Which products to list, and in which order. The default lists all of them by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    sort: Sort,
    search: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Id,
    Name,
    NameDescending,
    Price,
    PriceDescending,
}

/// Why a query is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSelection {
    #[error("sort: {0:?} is not an order; use one of name, -name, price, -price")]
    UnknownSort(String),
    #[error("search: has {0} characters, and at most {SEARCH_CHARS_MAX} are allowed")]
    SearchTooLong(usize),
}

impl TryFrom<CatalogueQuery> for Selection {
    type Error = InvalidSelection;

    fn try_from(query: CatalogueQuery) -> Result<Self, InvalidSelection> {
        let sort = match query.sort.trim() {
            // An empty field of a form is sent as an empty text.
            "" => Sort::Id,
            "name" => Sort::Name,
            "-name" => Sort::NameDescending,
            "price" => Sort::Price,
            "-price" => Sort::PriceDescending,
            unknown => return Err(InvalidSelection::UnknownSort(unknown.to_owned())),
        };
        let search = query.search.trim();
        let search_chars = search.chars().count();
        if search_chars > SEARCH_CHARS_MAX {
            return Err(InvalidSelection::SearchTooLong(search_chars));
        }
        Ok(Self {
            sort,
            search: (!search.is_empty()).then(|| search.to_owned()),
        })
    }
}

impl Selection {
    /// The condition and order of the statement that lists the selection, with its
    /// parameters. Only constants become part of the statement.
    pub(crate) fn clauses(&self) -> (&'static str, &'static str, Vec<Value>) {
        let order = match self.sort {
            Sort::Id => "ORDER BY id",
            Sort::Name => "ORDER BY LOWER(name), id",
            Sort::NameDescending => "ORDER BY LOWER(name) DESC, id",
            Sort::Price => "ORDER BY price_minor_units, id",
            Sort::PriceDescending => "ORDER BY price_minor_units DESC, id",
        };
        match &self.search {
            None => ("", order, Vec::new()),
            Some(text) => (
                r"WHERE LOWER(name) LIKE LOWER($1) ESCAPE '\' OR LOWER(description) LIKE LOWER($1) ESCAPE '\'",
                order,
                vec![Value::Text(like_pattern(text))],
            ),
        }
    }
}

/// A LIKE pattern that finds `text` anywhere, with its special characters escaped.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(sort: &str, search: &str) -> Result<Selection, InvalidSelection> {
        CatalogueQuery {
            sort: sort.to_owned(),
            search: search.to_owned(),
        }
        .try_into()
    }

    #[test]
    fn empty_form_selects_everything() {
        assert_eq!(select("", "  "), Ok(Selection::default()));
    }

    #[test]
    fn unknown_order_is_named() {
        let message = select("colour", "").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"sort: "colour" is not an order; use one of name, -name, price, -price"#
        );
    }

    #[test]
    fn search_text_is_limited() {
        assert!(select("", &"x".repeat(SEARCH_CHARS_MAX)).is_ok());
        let refused = select("", &"x".repeat(SEARCH_CHARS_MAX + 1));
        assert_eq!(refused, Err(InvalidSelection::SearchTooLong(101)));
    }

    #[test]
    fn search_text_is_not_interpreted_as_a_pattern() {
        assert_eq!(like_pattern(r"50%_\"), r"%50\%\_\\%");
    }
}
