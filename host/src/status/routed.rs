//! Makes a router the handler of a listener.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tower_service::Service;

use crate::body::RequestBody;
use crate::listen::Handler;

/// Serves the clients that the listener identifies by `C`, all in the same way.
pub(super) struct RouterHandler<C> {
    router: Router,
    client: PhantomData<fn(C)>,
}

impl<C> RouterHandler<C> {
    pub(super) fn new(router: Router) -> Self {
        Self {
            router,
            client: PhantomData,
        }
    }
}

impl<C> Clone for RouterHandler<C> {
    fn clone(&self) -> Self {
        Self::new(self.router.clone())
    }
}

impl<C: Copy + Send + Sync + 'static> Handler for RouterHandler<C> {
    type Client = C;
    type Body = Body;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<RequestBody>,
        _: C,
    ) -> Result<Response<Body>, Infallible> {
        // A router is always ready.
        self.router.clone().call(request.map(Body::new)).await
    }
}
