//! The storefront: pages made on the server from what the other services
//! answer. It keeps no data of its own and works, with less on the page, when
//! they do not answer.

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

/// Which image of the service this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// The plain catalogue.
    V1,
    /// A look of its own, with searching and sorting.
    V2,
}

impl Edition {
    /// The version text when `UI_VERSION` is not set.
    fn version_default(self) -> &'static str {
        match self {
            Self::V1 => "Storefront v1",
            Self::V2 => "Storefront v2",
        }
    }
}
