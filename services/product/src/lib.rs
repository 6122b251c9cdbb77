//! The product service: the shop's catalogue.
//!
//! It stores the products, and fetches the reviews of a product from the review service
//! when a client requests the product. It does not interpret reviews.

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

/// The image of the service. Both use the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Lists the catalogue by id.
    V1,
    /// Also sorts and searches the catalogue.
    V2,
}

impl Edition {
    /// The version text if `PRODUCTMS_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Product v1",
            Self::V2 => "Product v2",
        }
    }
}
