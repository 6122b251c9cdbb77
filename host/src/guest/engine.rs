//! The wasmtime engines: their configuration, and the clock that makes guests yield.
//!
//! There is one for WASI 0.2 and one for 0.3. An engine that can run a guest's tasks
//! concurrently makes every call between host and guest more expensive, and only 0.3 has such
//! tasks. Each engine is created when the first component needs it, because it reserves
//! thousands of mappings.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::WasiVersion;
use super::cpu::ComputeThreads;

/// How often a running guest yields and checks its deadline. With 5 ms, no guest delays
/// another by more, and an idle host wakes up only 200 times per second.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(5);

/// How many instances of each version of WASI may exist, over all pods. Each reserves address
/// space, not memory: 4 GiB for its linear memory, and 2 MiB for each of its stacks.
const INSTANCES_MAX: u32 = 2_000;

/// The largest linear memory, regardless of a pod's limit.
const LINEAR_MEMORY_MAX: usize = 2 << 30;

#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly runtime")]
pub(crate) struct EngineError(#[source] wasmtime::Error);

/// Compiles components, and contains all instances.
#[derive(Clone)]
pub(crate) struct Engine {
    runtimes: Arc<Runtimes>,
    compute: ComputeThreads,
}

/// The engines that exist. The thread that advances their epochs ends with them.
#[derive(Default)]
struct Runtimes {
    sequential: OnceLock<wasmtime::Engine>,
    concurrent: OnceLock<wasmtime::Engine>,
}

impl Engine {
    /// # Errors
    /// The system refuses to start a thread.
    pub(crate) fn new() -> Result<Self, EngineError> {
        let runtimes = Arc::<Runtimes>::default();
        let ticking = Arc::downgrade(&runtimes);
        thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while let Some(runtimes) = ticking.upgrade() {
                    runtimes.tick();
                    drop(runtimes);
                    thread::sleep(EPOCH_TICK);
                }
            })
            .map_err(|error| EngineError(error.into()))?;
        Ok(Self {
            runtimes,
            compute: ComputeThreads::default(),
        })
    }

    /// What all guests that compute share.
    pub(super) fn compute_threads(&self) -> ComputeThreads {
        self.compute.clone()
    }

    /// The engine for guests of this version of WASI.
    ///
    /// # Errors
    /// The system refuses to reserve the address space.
    pub(super) fn wasmtime(
        &self,
        wasi_version: WasiVersion,
    ) -> Result<&wasmtime::Engine, EngineError> {
        let runtime = self.runtimes.of(wasi_version);
        if let Some(runtime) = runtime.get() {
            return Ok(runtime);
        }
        let made = wasmtime::Engine::new(&settings(wasi_version)).map_err(EngineError)?;
        Ok(runtime.get_or_init(|| made))
    }
}

impl Runtimes {
    fn of(&self, wasi_version: WasiVersion) -> &OnceLock<wasmtime::Engine> {
        match wasi_version {
            WasiVersion::P2 => &self.sequential,
            WasiVersion::P3 => &self.concurrent,
        }
    }

    fn tick(&self) {
        let present = [&self.sequential, &self.concurrent];
        for runtime in present.into_iter().filter_map(OnceLock::get) {
            runtime.increment_epoch();
        }
    }
}

fn settings(wasi_version: WasiVersion) -> Config {
    let concurrent = wasi_version == WasiVersion::P3;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(concurrent)
        .concurrency_support(concurrent)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        .parallel_compilation(true)
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(wasi_version)));
    config
}

/// The pooling allocator. Slots are created once and reused. Memory that a guest has touched
/// is zeroed instead of unmapped, as long as it is small.
fn pool(wasi_version: WasiVersion) -> PoolingAllocationConfig {
    // In 0.2, the code of an instance runs on one stack at a time.
    let stacks = match wasi_version {
        WasiVersion::P2 => INSTANCES_MAX,
        WasiVersion::P3 => INSTANCES_MAX * 2,
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 4)
        .total_stacks(stacks)
        .max_memory_size(LINEAR_MEMORY_MAX)
        // Interpreters that are compiled to WebAssembly (JavaScript, Python) have several core
        // modules with large tables.
        .max_core_instances_per_component(64)
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(64 << 10)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        // The next instance gets the memory of the last one, which is still in the core's
        // cache. A batch pays only for guests that touch more memory than is kept.
        .decommit_batch_size(1)
        .max_unused_warm_slots(64)
        .pagemap_scan(Enabled::Auto);
    pool
}
