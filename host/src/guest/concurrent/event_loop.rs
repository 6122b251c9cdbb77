//! What runs inside the store of an instance: wasmtime's event loop, which starts the requests
//! that arrive and waits for their responses.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::header;
use http::uri::{Authority, Scheme};
use wasmtime::component::{Accessor, Resource, TypedFunc, TypedFuncCallConcurrent};
use wasmtime::{AsContextMut, Store, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{Request, Response};

use super::Arrival;
use super::attribution::attribute_calls;
use super::progress::{Answer, Progress, RequestId};
use crate::guest::Failure;
use crate::guest::cpu::take_turns_inside;
use crate::guest::growth::Growth;
use crate::guest::state::GuestState;
use crate::telemetry::metrics::PodMeters;

/// Ends when the instance serves no request and accepts no more, or when it fails. Dropping it
/// drops the instance.
pub(super) type EventLoop = Pin<Box<dyn Future<Output = ()> + Send>>;

type Parameters = (Resource<Request>,);
type Returned = (Result<Resource<Response>, ErrorCode>,);
type Call = TypedFuncCallConcurrent<GuestState, Parameters, Returned>;

/// Resolves when the request has been sent to the guest.
type Sent = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

pub(super) fn event_loop(
    mut store: Store<GuestState>,
    service: Service,
    progress: Arc<Progress>,
    meters: Arc<PodMeters>,
) -> EventLoop {
    take_turns_inside(&mut store);
    attribute_calls(&mut store, progress.clone());
    Box::pin(async move {
        let requests = Requests {
            handler: service.wasi_http_handler().func_handle(),
            progress: &progress,
            meters: &meters,
        };
        let run = async |accessor: &Accessor<GuestState>| requests.serve(accessor).await;
        let ended = store.run_concurrent(run).await.flatten();
        // Bodies end when the store is dropped.
        if let Err(error) = ended {
            tracing::debug!(%error, "a concurrent instance ended");
            progress.end(Some(Failure::from_call(&error)));
        }
        drop(store);
    })
}

struct Requests<'a> {
    handler: TypedFunc<Parameters, Returned>,
    progress: &'a Progress,
    meters: &'a PodMeters,
}

impl Requests<'_> {
    /// # Errors
    /// The guest trapped, and with it all of its requests.
    async fn serve(&self, accessor: &Accessor<GuestState>) -> wasmtime::Result<()> {
        let handler = *self.handler.func();
        let mut growth = Growth::default();
        let mut calls = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                while let Poll::Ready(Some(ended)) = calls.poll_next_unpin(context) {
                    if let Err(error) = ended {
                        return Poll::Ready(Err(error));
                    }
                }
                let Some((id, arrival, start)) = self.progress.begin() else {
                    break;
                };
                self.meters
                    .waited(start.saturating_duration_since(arrival.at));
                let call = accessor.with(|mut access| {
                    self.call(access.as_context_mut(), arrival, start, &mut growth)
                });
                match call {
                    Ok((call, sent)) => calls.push(self.respond(accessor, id, call, sent)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            let is_ready = accessor
                .poll_ready_for_concurrent_call(handler, context)
                .is_ready();
            let works = accessor.poll_no_interesting_tasks(context).is_pending();
            self.progress.rest(is_ready, works);
            let ends = self.progress.is_retiring() || !is_ready;
            if ends && calls.is_empty() && !works {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Starts a request in the guest.
    fn call(
        &self,
        mut store: StoreContextMut<'_, GuestState>,
        arrival: Arrival,
        start: Instant,
        growth: &mut Growth,
    ) -> wasmtime::Result<(Call, Sent)> {
        if growth.is_too_much_shared(&mut store) {
            self.progress.retire_grown();
        }
        let state = store.data_mut();
        let authority = authority(&arrival.request);
        let (mut request, sent) = Request::from_http(&mut state.hooks, arrival.request);
        // As WASI 0.2 guests see it, whatever the request came over.
        request.scheme = Some(Scheme::HTTP);
        request.authority = authority;
        let request = state.http().table.push(request)?;
        let call = self
            .handler
            .start_call_concurrent(store.as_context_mut(), (request,))?;
        let state = store.data_mut();
        state.hooks.begin(call.task(), &arrival.context);
        state.deadline.set(start + self.progress.rules().response);
        Ok((call, Box::pin(sent)))
    }

    async fn respond(
        &self,
        accessor: &Accessor<GuestState>,
        id: RequestId,
        call: Call,
        sent: Sent,
    ) -> wasmtime::Result<()> {
        let (returned,) = self.handler.finish_call_concurrent(accessor, call).await?;
        let answer: Answer = match returned {
            Ok(response) => accessor
                .with(|mut access| {
                    let response: Response = access.get().http().table.delete(response)?;
                    response.into_http(access.as_context_mut(), sent)
                })
                .map_err(|error| Failure::from_call(&error)),
            Err(code) => Err(Failure::NoResponse(code.to_string().into())),
        };
        self.progress.finish(id, answer);
        Ok(())
    }
}

/// Of the URI, or else in `host`.
fn authority<B>(request: &http::Request<B>) -> Option<Authority> {
    let host = || {
        let host = request.headers().get(header::HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    };
    request.uri().authority().cloned().or_else(host)
}
