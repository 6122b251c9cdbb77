//! `wasi:http/outgoing-handler` without its leak.
//!
//! The implementation of wasmtime reads the options of a request and leaves them in the
//! instance's table. The table of a reused instance would fill up, one call after another.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttpView};

use super::state::GuestState;

/// The version that wasmtime links, for all of 0.2.
const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

type Arguments = (
    Resource<HostOutgoingRequest>,
    Option<Resource<RequestOptions>>,
);
type HandleResult = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

/// Replaces the implementation of wasmtime.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INTERFACE)?.func_wrap("handle", handle)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    mut store: StoreContextMut<'_, GuestState>,
    (request, options): Arguments,
) -> wasmtime::Result<(HandleResult,)> {
    let mut http = store.data_mut().http();
    let borrowed = options
        .as_ref()
        .map(|options| Resource::new_own(options.rep()));
    let handled = http.handle(request, borrowed);
    if let Some(options) = options {
        http.table.delete(options)?;
    }
    match handled {
        Ok(response) => Ok((Ok(response),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
