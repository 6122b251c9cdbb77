//! The review service: customers' reviews of products.
//!
//! It stores reviews by product id and does not know the products themselves.

mod migrations;
mod ratings;
mod review;
mod routes;
mod store;
#[cfg(test)]
mod tests;

pub use ratings::compute_ratings;
pub use routes::router;

/// The image of the service. Both use the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Lists reviews in the order in which they were written.
    V1,
    /// Lists the newest reviews first and summarizes them.
    V2,
}

impl Edition {
    /// The version text if `PRODUCTREVIEW_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Product Review v1",
            Self::V2 => "Product Review v2",
        }
    }
}
