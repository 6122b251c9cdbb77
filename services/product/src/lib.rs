//! The product service: the shop's catalogue.
//!
//! It keeps the products, and gathers a product's reviews from the review
//! service when somebody looks at one. It does not know what a review contains.

mod catalogue;
mod envelope;
mod migrations;
mod money;
mod product;
mod reviews;
mod routes;
mod store;
#[cfg(test)]
mod tests;

pub use routes::router;

/// Which image of the service this is. Both work on the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Lists the catalogue in the order of its ids.
    V1,
    /// Also sorts and searches it.
    V2,
}

impl Edition {
    /// The version text when `PRODUCTMS_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Product v1",
            Self::V2 => "Product v2",
        }
    }
}
