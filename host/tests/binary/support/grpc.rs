//! A gRPC server with one method, for tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

/// What the server does.
pub trait Method: Clone + Send + Sync + 'static {
    /// `package.Service`
    const SERVICE: &'static str;
    type Question: Message + Default + 'static;
    type Answer: Message + Default + 'static;

    fn answer(
        &self,
        question: Self::Question,
    ) -> impl Future<Output = Result<Self::Answer, tonic::Status>> + Send;
}

/// See the module's documentation.
pub struct GrpcServer {
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl GrpcServer {
    pub fn start(method: impl Method) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(Service(method));
        runtime.spawn(server.serve_with_incoming(incoming));
        Self {
            address,
            _runtime: runtime,
        }
    }
}

#[derive(Clone)]
struct Service<M>(M);

impl<M: Method> NamedService for Service<M> {
    const NAME: &'static str = M::SERVICE;
}

type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<M: Method> tower_service::Service<http::Request<Body>> for Service<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let unary = Unary(self.0.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(unary, request).await)
        })
    }
}

struct Unary<M>(M);

impl<M: Method> UnaryService<M::Question> for Unary<M> {
    type Response = M::Answer;
    type Future = Answering<Result<tonic::Response<M::Answer>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<M::Question>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async move {
            let answer = method.answer(request.into_inner()).await;
            answer.map(tonic::Response::new)
        })
    }
}
