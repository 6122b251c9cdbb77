//! One live instance of a component: its store, and how it is started.

use std::time::Instant;

use wasmtime::Store;
use wasmtime_wasi_http::handler::Proxy;

use super::cpu::give_way_at_ticks;
use super::growth::Growth;
use super::limits::bound;
use super::state::GuestState;
use super::{ComponentError, Deadline, Failure, GuestSetup};
use crate::telemetry::metrics::RetirementReason;

/// An instance is replaced after this many requests, which limits what a guest with a small
/// leak can accumulate.
pub(super) const REQUESTS_MAX: u32 = 100_000;

pub(super) struct Instance {
    pub(super) store: Store<GuestState>,
    pub(super) proxy: Proxy,
    pub(super) requests: u32,
    growth: Growth,
}

impl Instance {
    /// Instantiates the component and runs its start function, within the time for a request.
    pub(super) async fn start(setup: &GuestSetup) -> Result<Box<Self>, Failure> {
        let no_http = |error: ComponentError| Failure::Start(error.to_string().into());
        let component = setup.component.clone();
        component.http().map_err(no_http)?;
        let deadline = Instant::now() + setup.limits.response;
        let state = GuestState::new(setup, Deadline::at(deadline))?;
        let mut store = Store::new(setup.component.wasmtime(), state);
        bound(&mut store);
        give_way_at_ticks(&mut store);
        let turn = store.data().turn.clone();
        let started = turn.take(Box::pin(async move {
            let proxy = component.http()?.instantiate_async(&mut store).await?;
            Ok((store, proxy))
        }));
        match tokio::time::timeout_at(deadline.into(), started).await {
            Ok(Ok((store, proxy))) => Ok(Box::new(Self {
                store,
                proxy,
                requests: 0,
                growth: Growth::default(),
            })),
            Ok(Err(error)) => Err(match Failure::from_call(&error) {
                Failure::Trap(text) => Failure::Start(text),
                other => other,
            }),
            Err(_) => Err(Failure::Deadline),
        }
    }

    /// Bytes of its linear memory.
    pub(super) fn memory(&self) -> u64 {
        self.store.data().limiter.reserved()
    }

    /// Why the instance must not serve another request, if so. Called between two requests.
    pub(super) fn is_done(&mut self) -> Option<RetirementReason> {
        if self.requests >= REQUESTS_MAX {
            return Some(RetirementReason::Spent);
        }
        let state = self.store.data_mut();
        // Further output belongs to no request.
        state.hooks.serve(None);
        let grown = state.holds_too_much() || self.growth.is_too_much(state);
        grown.then_some(RetirementReason::Grown)
    }
}
