//! Where the clock is read.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use super::PodCpu;

/// Counts the time that `guest` runs: a future that is in guest code whenever
/// it is polled.
pub(in crate::guest) async fn metered<F: Future>(cpu: Arc<PodCpu>, guest: F) -> F::Output {
    let mut guest = pin!(guest);
    poll_fn(|context| {
        let began = Instant::now();
        let polled = guest.as_mut().poll(context);
        cpu.charge(began.elapsed());
        polled
    })
    .await
}

/// Counts the guest's time where nobody but wasmtime polls it: from every
/// entry into its code to the next way out.
pub(in crate::guest) fn meter_inside<T: 'static>(store: &mut Store<T>, cpu: Arc<PodCpu>) {
    let mut entered = Instant::now();
    store.call_hook(move |_, hook| {
        if hook.entering_host() {
            cpu.charge(entered.elapsed());
        } else {
            entered = Instant::now();
        }
        Ok(())
    });
}
