//! Components that run to completion: `wasi:cli/run`, once, in an instance of its own.
//!
//! Mounts, memory, output and outgoing calls are the same as for instances that serve
//! requests, and the guest yields in the same way. There is no deadline; dropping the run ends
//! the guest, whether it loops or waits.

use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::{p2, p3};

use super::component::WasiVersion;
use super::cpu::give_way_at_ticks;
use super::deadline::Deadline;
use super::limits::bound;
use super::state::GuestState;
use super::{ComponentError, Failure, GuestSetup};

/// The exported `run`, looked up before anything is started.
pub(super) enum CommandPre {
    P2(p2::bindings::CommandPre<GuestState>),
    P3(p3::bindings::CommandPre<GuestState>),
}

impl CommandPre {
    pub(super) fn new(
        wasi_version: WasiVersion,
        instance: InstancePre<GuestState>,
    ) -> wasmtime::Result<Self> {
        match wasi_version {
            WasiVersion::P2 => p2::bindings::CommandPre::new(instance).map(Self::P2),
            WasiVersion::P3 => p3::bindings::CommandPre::new(instance).map(Self::P3),
        }
    }

    async fn run(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::P2(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::P3(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                let run = async |store: &_| command.wasi_cli_run().call_run(store).await;
                store.run_concurrent(run).await?
            }
        }
    }
}

/// Runs the pod's component to completion and returns its exit code; 0 means success.
///
/// # Errors
/// The component has no `run`, cannot be started, traps or exceeds the pod's memory.
pub(crate) async fn run(setup: &GuestSetup) -> Result<i32, Failure> {
    let component = setup.component.clone();
    let no_command = |error: ComponentError| Failure::Start(error.to_string().into());
    component.command().map_err(no_command)?;
    let state = GuestState::new(setup, Deadline::never())?;
    let mut store = Store::new(component.wasmtime(), state);
    bound(&mut store);
    give_way_at_ticks(&mut store);
    let turn = store.data().turn.clone();
    let run = async move { component.command()?.run(&mut store).await };
    match turn.take(Box::pin(run)).await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code),
            None => Err(Failure::from_call(&error)),
        },
    }
}
