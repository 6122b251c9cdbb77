//! `wasi:http/outgoing-handler`, which leaves nothing behind.
//!
//! wasmtime's own looks at the options of a request and leaves them in the
//! instance's table: an instance that is reused would fill it, one call after the
//! other.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttpView};

use super::state::GuestState;

/// As wasmtime has it: it stands for all of 0.2.
const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

type Arguments = (
    Resource<HostOutgoingRequest>,
    Option<Resource<RequestOptions>>,
);
type Handled = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

/// Replaces wasmtime's own.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INTERFACE)?.func_wrap("handle", handle)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    mut store: StoreContextMut<'_, GuestState>,
    (request, options): Arguments,
) -> wasmtime::Result<(Handled,)> {
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
