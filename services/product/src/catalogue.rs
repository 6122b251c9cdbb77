//! Sorting and searching the catalogue: what the canary adds.

use serde::Deserialize;
use shop_platform::Value;

/// The longest search text, in characters.
const SEARCH_CHARS_MAX: usize = 100;

/// The query string of the catalogue, as it was sent.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CatalogueQuery {
    #[serde(default)]
    sort: String,
    #[serde(default)]
    search: String,
}

/// What to list, and in which order. The default lists everything by id.
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

/// Why a query selects nothing.
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
            // An untouched field of a form arrives as an empty text.
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
    /// The condition and order of the statement that lists the selection, with
    /// its parameters. Only constants become part of the statement.
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

/// A pattern that finds `text` anywhere and gives none of its characters a
/// meaning of its own.
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
    fn an_untouched_form_selects_everything() {
        assert_eq!(select("", "  "), Ok(Selection::default()));
    }

    #[test]
    fn an_unknown_order_is_named() {
        let message = select("colour", "").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"sort: "colour" is not an order; use one of name, -name, price, -price"#
        );
    }

    #[test]
    fn a_search_text_has_a_limit() {
        assert!(select("", &"x".repeat(SEARCH_CHARS_MAX)).is_ok());
        let refused = select("", &"x".repeat(SEARCH_CHARS_MAX + 1));
        assert_eq!(refused, Err(InvalidSelection::SearchTooLong(101)));
    }

    #[test]
    fn a_search_text_is_never_a_pattern() {
        assert_eq!(like_pattern(r"50%_\"), r"%50\%\_\\%");
    }
}
