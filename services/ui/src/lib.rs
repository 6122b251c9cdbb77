//! The storefront: pages rendered on the server from the responses of the other services.
//! It stores no data, and if a service does not respond, its pages work with less
//! content.

mod assets;
mod failure;
mod pages;
mod price;
mod products;
mod review_form;
mod routes;
#[cfg(test)]
mod tests;

pub use routes::router;

/// The image of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// The plain catalogue.
    V1,
    /// A different look, with searching and sorting.
    V2,
}

impl Edition {
    /// The version text if `UI_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Storefront v1",
            Self::V2 => "Storefront v2",
        }
    }
}
