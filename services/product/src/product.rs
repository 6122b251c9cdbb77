//! A product, and the validation of a new one.

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// The longest texts of a product, in characters, that fit on a page.
const NAME_CHARS_MAX: usize = 120;
const CATEGORY_CHARS_MAX: usize = 40;
const DESCRIPTION_CHARS_MAX: usize = 2000;

/// A product of the catalogue, in the form that callers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Product {
    pub(crate) product_id: i64,
    pub(crate) category: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price: Money,
}

/// A product as callers send it. The service assigns the id and ignores one in the
/// request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NewProduct {
    pub(crate) category: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) price: Money,
}

/// An invalid field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidProduct {
    #[error("{field}: must not be blank")]
    Blank { field: &'static str },
    #[error("{field}: has {actual} characters, and at most {max} are allowed")]
    TooLong {
        field: &'static str,
        actual: usize,
        max: usize,
    },
}

impl NewProduct {
    /// The product with trimmed texts, if all of them are valid.
    pub(crate) fn checked(self) -> Result<Self, InvalidProduct> {
        let checked = Self {
            category: bounded("category", &self.category, CATEGORY_CHARS_MAX)?,
            name: bounded("name", &self.name, NAME_CHARS_MAX)?,
            description: bounded("description", &self.description, DESCRIPTION_CHARS_MAX)?,
            price: self.price,
        };
        for (field, text) in [("category", &checked.category), ("name", &checked.name)] {
            if text.is_empty() {
                return Err(InvalidProduct::Blank { field });
            }
        }
        Ok(checked)
    }

    pub(crate) fn with_id(self, product_id: i64) -> Product {
        let Self {
            category,
            name,
            description,
            price,
        } = self;
        Product {
            product_id,
            category,
            name,
            description,
            price,
        }
    }
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<String, InvalidProduct> {
    let text = text.trim();
    let actual = text.chars().count();
    if actual > max {
        return Err(InvalidProduct::TooLong { field, actual, max });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_product(name: &str, description: &str) -> NewProduct {
        NewProduct {
            category: " 2 ".to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            price: Money::from_minor_units(100),
        }
    }

    #[test]
    fn texts_are_trimmed() {
        let checked = new_product(" Apple\n", "").checked().unwrap();
        assert_eq!(
            (checked.category.as_str(), checked.name.as_str()),
            ("2", "Apple")
        );
    }

    #[test]
    fn blank_name_is_rejected() {
        let refused = new_product("  ", "").checked();
        assert_eq!(refused, Err(InvalidProduct::Blank { field: "name" }));
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(
            new_product(&"é".repeat(NAME_CHARS_MAX), "")
                .checked()
                .is_ok()
        );
        let refused = new_product("Apple", &"x".repeat(DESCRIPTION_CHARS_MAX + 1)).checked();
        let message = refused.unwrap_err().to_string();
        assert_eq!(
            message,
            "description: has 2001 characters, and at most 2000 are allowed"
        );
    }
}
