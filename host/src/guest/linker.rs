//! Everything a component may import.

use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfig;

use super::state::GuestState;
use super::{Engine, concurrent, sql};

/// WASI 0.2 and 0.3, `wasi:http` of both, `wasi:config/store`, `galleria:sql`.
/// Sockets are linked, since language runtimes import them, and refuse.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    concurrent::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut GuestState| {
        WasiConfig::from(&state.config)
    })?;
    sql::add_to_linker(&mut linker)?;
    Ok(linker)
}
