//! The review service: what customers say about products.
//!
//! It keeps reviews by product id and does not know the products themselves.

mod migrations;
mod ratings;
mod review;
mod routes;
mod store;
#[cfg(test)]
mod tests;

pub use ratings::compute_ratings;
pub use routes::router;

/// Which image of the service this is. Both work on the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Lists reviews in the order they were written.
    V1,
    /// Lists the newest first and sums them up.
    V2,
}

impl Edition {
    /// The version text when `PRODUCTREVIEW_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Product Review v1",
            Self::V2 => "Product Review v2",
        }
    }
}
