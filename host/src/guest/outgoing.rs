//! `wasi:http/outgoing-handler`, so that a call between two guests stays on one task.
//!
//! The implementation of wasmtime starts two tasks for every call, and leaves the options of a
//! request in the instance's table, which would fill up if the instance is reused. Here the
//! future of a call is the guest's `future-incoming-response`, and waiting for it drives the
//! call ([`call`]).

mod call;
mod request;

use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, HostFutureIncomingResponse as _};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};
use wasmtime_wasi_http::{FieldMap, RequestOptions, WasiHttpView};

use super::state::GuestState;
use call::Progress;
pub(super) use call::{CallFuture, DrivenCall, OutgoingCall};

/// The version that wasmtime links, for all of 0.2.
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
const TYPES: &str = "wasi:http/types@0.2.12";
const FUTURE: &str = "future-incoming-response";

type Handled = Result<Resource<OutgoingCall>, ErrorCode>;
type Received = Result<Resource<HostIncomingResponse>, ErrorCode>;

/// Replaces the implementation of wasmtime.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.resource(
        FUTURE,
        ResourceType::host::<OutgoingCall>(),
        |mut store, call| {
            let call = Resource::<OutgoingCall>::new_own(call);
            store.data_mut().table.delete(call)?;
            Ok(())
        },
    )?;
    types.func_wrap(&format!("[method]{FUTURE}.subscribe"), subscribed)?;
    types.func_wrap(&format!("[method]{FUTURE}.get"), get)?;
    linker.instance(HANDLER)?.func_wrap("handle", handle)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    mut store: StoreContextMut<'_, GuestState>,
    (request, options): (
        Resource<HostOutgoingRequest>,
        Option<Resource<RequestOptions>>,
    ),
) -> wasmtime::Result<(Handled,)> {
    let state = store.data_mut();
    let options = options.map(|options| state.table.delete(options));
    let timeout = options.transpose()?.and_then(|it| it.first_byte_timeout);
    // Measures what the host keeps for the guest.
    let http = state.http();
    let request = http.table.delete(request)?;
    let handled = request::read(request, http.hooks);
    let call = match handled {
        Ok(request) => state.hooks.call(request, timeout),
        Err(code) => return Ok((Err(code),)),
    };
    Ok((Ok(state.table.push(call)?),))
}

fn subscribed(
    mut store: StoreContextMut<'_, GuestState>,
    (call,): (Resource<OutgoingCall>,),
) -> wasmtime::Result<(Resource<DynPollable>,)> {
    Ok((subscribe(&mut store.data_mut().table, call)?,))
}

/// Returns `None` if there is no response yet, and an error if it was already taken.
fn get(
    mut store: StoreContextMut<'_, GuestState>,
    (call,): (Resource<OutgoingCall>,),
) -> wasmtime::Result<(Option<Result<Received, ()>>,)> {
    let mut http = store.data_mut().http();
    let response = match http.table.get(&call)?.take() {
        Progress::Waiting => return Ok((None,)),
        Progress::Taken => return Ok((Some(Err(())),)),
        Progress::Answered(Ok(response)) => response,
        Progress::Answered(Err(error)) => {
            // wasmtime translates the error.
            let failed = HostFutureIncomingResponse::Ready(Err(error));
            let failed = http.table.push(failed)?;
            let received = http.get(Resource::new_own(failed.rep()))?;
            http.table.delete(failed)?;
            return Ok((received,));
        }
    };
    let (parts, body) = response.into_parts();
    let response = HostIncomingResponse {
        status: parts.status.as_u16(),
        headers: FieldMap::new_immutable(http.hooks, parts.headers),
        body: Some(HostIncomingBody::new(body.boxed_unsync())),
    };
    Ok((Some(Ok(Ok(http.table.push(response)?))),))
}
