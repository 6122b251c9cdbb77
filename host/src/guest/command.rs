//! Components that run to their end: `wasi:cli/run`, once, on an instance of
//! its own.
//!
//! What holds for instances that answer requests holds here: mounts, memory,
//! output and the way out are the same, and the guest yields as they do. It has
//! no deadline of its own; dropping the run ends the guest, in a loop or
//! waiting.

use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::{p2, p3};

use super::component::Generation;
use super::cpu::give_way_at_ticks;
use super::deadline::Deadline;
use super::limits::bound;
use super::state::GuestState;
use super::{ComponentError, Failure, GuestSetup};

/// The exported `run`, found before anything is started.
pub(super) enum CommandPre {
    P2(p2::bindings::CommandPre<GuestState>),
    P3(p3::bindings::CommandPre<GuestState>),
}

impl CommandPre {
    pub(super) fn new(
        generation: Generation,
        instance: InstancePre<GuestState>,
    ) -> wasmtime::Result<Self> {
        match generation {
            Generation::P2 => p2::bindings::CommandPre::new(instance).map(Self::P2),
            Generation::P3 => p3::bindings::CommandPre::new(instance).map(Self::P3),
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

/// Runs the pod's component to its end and returns its exit code: 0 is
/// success.
///
/// # Errors
/// The component has no `run`, cannot be started, traps or wants more memory
/// than its pod has.
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
    match turn.take(run).await {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code),
            None => Err(Failure::from_call(&error)),
        },
    }
}
