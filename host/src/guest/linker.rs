//! The interfaces that a component can import.

use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfig;

use super::state::GuestState;
use super::{WasiVersion, concurrent, filesystem, logging, outgoing, sql};

/// WASI 0.2, `wasi:http`, `wasi:config/store`, `wasi:logging` and `galleria:sql`, and WASI 0.3
/// for its guests, which also use 0.2. Sockets are linked because language runtimes import
/// them, but every use fails. The use of files is limited.
pub(super) fn linker(
    engine: &wasmtime::Engine,
    wasi_version: WasiVersion,
) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    outgoing::add_to_linker(&mut linker)?;
    if wasi_version == WasiVersion::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        concurrent::add_to_linker(&mut linker)?;
    }
    filesystem::bound(&mut linker, wasi_version)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut GuestState| {
        WasiConfig::from(&state.config)
    })?;
    logging::add_to_linker(&mut linker)?;
    sql::add_to_linker(&mut linker)?;
    Ok(linker)
}
