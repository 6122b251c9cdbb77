//! Which request makes a call of the host, although an instance serves several at once.
//!
//! A request is identified by its component-model task. The task is looked up when code of the
//! guest is entered, not at every call of the host: between two entries it does not change.

use std::sync::Arc;

use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime::{AsContextMut, CallHook, Store, StoreContextMut};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::{client, types};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView};

use super::progress::Progress;
use crate::context::RequestContext;
use crate::guest::state::GuestState;

/// Records the request whenever the guest is entered.
pub(super) fn attribute_calls(store: &mut Store<GuestState>, progress: Arc<Progress>) {
    store.call_hook(move |mut store, hook| {
        match hook {
            CallHook::CallingWasm => {
                progress.stir();
                note_request(&mut store);
            }
            // The event loop may have run other tasks while this one waited for the host.
            CallHook::ReturningFromHost if progress.stir() => note_request(&mut store),
            _ => {}
        }
        Ok(())
    });
}

/// Records which request makes the calls from now on, so that their effects are attributed to
/// it.
fn note_request(store: &mut StoreContextMut<'_, GuestState>) {
    let request = serving(store);
    store.data_mut().hooks.serve(request);
}

/// The request of the current task; `None` if the guest runs outside of a request.
fn serving(store: &mut StoreContextMut<'_, GuestState>) -> Option<Arc<RequestContext>> {
    let task = store.async_call_stack().ok()?.last()?;
    store.data().hooks.of_task(task)
}

/// `wasi:http/client`, which first records the request that makes the call.
struct Client;

impl HasData for Client {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl client::HostWithStore<GuestState> for Client {
    async fn send(
        store: &Accessor<GuestState, Self>,
        request: Resource<types::Request>,
    ) -> Result<Resource<types::Response>, TrappableError<types::ErrorCode>> {
        store.with(|mut access| {
            note_request(&mut access.as_context_mut());
        });
        let store = store.with_getter::<WasiHttp>(view_http);
        <WasiHttp as client::HostWithStore<GuestState>>::send(&store, request).await
    }
}

fn view_http(state: &mut GuestState) -> WasiHttpCtxView<'_> {
    state.http()
}

pub(in crate::guest) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, Client>(linker, view_http)?;
    types::add_to_linker::<_, WasiHttp>(linker, view_http)
}
