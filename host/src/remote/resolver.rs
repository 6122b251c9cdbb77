//! Resolves the names of servers outside the mesh, and leaves out the addresses that a
//! connection must not use.
//!
//! The check is here, and not before the connection is opened, so that no second look-up
//! can give another answer.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::vec;

use futures::FutureExt;
use futures::future::BoxFuture;
use galleria_mesh::AddressRules;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Resolver {
    system: GaiResolver,
    addresses: AddressRules,
}

impl Resolver {
    pub(super) fn new(addresses: &AddressRules) -> Self {
        Self {
            system: GaiResolver::new(),
            addresses: addresses.clone(),
        }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.system.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.system.call(name);
        let addresses = self.addresses.clone();
        async move { Ok(addresses.usable(resolving.await?)?.into_iter()) }.boxed()
    }
}
