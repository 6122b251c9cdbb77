//! The wasmtime engines: their configuration, and the clock that makes guests yield.
//!
//! There is one for WASI 0.2 and one for 0.3. An engine that can run a guest's tasks
//! concurrently makes every call between host and guest more expensive, and only 0.3 has such
//! tasks.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::Generation;
use super::cpu::ComputeThreads;

/// How often a running guest yields and checks its deadline. With 5 ms, no guest delays
/// another by more, and an idle host wakes up only 200 times per second.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(5);

/// How many instances of each generation may exist, over all pods. Each reserves address
/// space, not memory: 4 GiB for its linear memory, and 2 MiB for its stack.
const INSTANCES_MAX: u32 = 2_000;

/// The largest linear memory, regardless of a pod's limit.
const LINEAR_MEMORY_MAX: usize = 2 << 30;

#[derive(Debug, thiserror::Error)]
#[error("cannot set up the WebAssembly runtime")]
pub(crate) struct EngineError(#[source] wasmtime::Error);

/// Compiles components, and contains all instances.
#[derive(Clone)]
pub(crate) struct Engine {
    sequential: wasmtime::Engine,
    concurrent: wasmtime::Engine,
    compute: ComputeThreads,
    _ticker: Arc<Ticker>,
}

/// Stops its thread when the last handle of the engine is dropped.
struct Ticker;

impl Engine {
    /// # Errors
    /// The system refuses to reserve the address space.
    pub(crate) fn new() -> Result<Self, EngineError> {
        let engine = |concurrent| wasmtime::Engine::new(&settings(concurrent)).map_err(EngineError);
        let (sequential, concurrent) = (engine(false)?, engine(true)?);
        let ticker = Arc::new(Ticker);
        let alive = Arc::downgrade(&ticker);
        let engines = [sequential.weak(), concurrent.weak()];
        thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while alive.strong_count() > 0 {
                    thread::sleep(EPOCH_TICK);
                    for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                        engine.increment_epoch();
                    }
                }
            })
            .map_err(|error| EngineError(error.into()))?;
        Ok(Self {
            sequential,
            concurrent,
            compute: ComputeThreads::default(),
            _ticker: ticker,
        })
    }

    /// What all guests that compute share.
    pub(super) fn compute_threads(&self) -> ComputeThreads {
        self.compute.clone()
    }

    /// The engine for guests of this generation.
    pub(super) fn wasmtime(&self, generation: Generation) -> &wasmtime::Engine {
        match generation {
            Generation::P2 => &self.sequential,
            Generation::P3 => &self.concurrent,
        }
    }
}

fn settings(concurrent: bool) -> Config {
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
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

/// The pooling allocator. Slots are created once and reused. Memory that a guest has touched
/// is zeroed instead of unmapped, as long as it is small.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 4)
        .total_stacks(INSTANCES_MAX * 2)
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
        .decommit_batch_size(16)
        .max_unused_warm_slots(64)
        .pagemap_scan(Enabled::Auto);
    pool
}
