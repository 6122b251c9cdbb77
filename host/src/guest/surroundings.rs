//! What a pod gives to each of its instances, and a guest cannot change: environment,
//! arguments, output streams and open mounts.
//!
//! An instance that ends leaves them for the next one, so that an instance for one request
//! neither copies the environment nor opens the mounts.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::{FsPerms, WasiCtx};
use wasmtime_wasi_config::WasiConfigVariables;

use super::limits::RANDOM_MAX;
use super::output::{LineStream, Serving, Stream};
use super::{Failure, Generation, GuestSetup};

/// How many are kept: more instances than this rarely start at the same moment. Each keeps a
/// descriptor for each mount.
const SPARE_MAX: usize = 4;

/// How many instances have the same ones. Then the seeds that guests get change.
const INSTANCES_MAX: u32 = 1_000;

/// See the module's documentation.
pub(super) struct Surroundings {
    pub(super) wasi: WasiCtx,
    pub(super) config: WasiConfigVariables,
    /// Attributes the output.
    pub(super) serving: Serving,
    instances: u32,
}

/// Those that no instance uses.
#[derive(Clone, Default)]
pub(crate) struct SpareSurroundings(Arc<Mutex<Vec<Surroundings>>>);

impl Surroundings {
    /// Those of an earlier instance, or new ones.
    ///
    /// # Errors
    /// A mount cannot be opened.
    pub(super) fn take(setup: &GuestSetup) -> Result<Self, Failure> {
        let spare = setup.spare.pop();
        spare.map_or_else(|| Self::new(setup), Ok)
    }

    fn new(setup: &GuestSetup) -> Result<Self, Failure> {
        let serving = Serving::default();
        let mut config = WasiConfigVariables::new();
        for (name, value) in &setup.environment {
            config.insert(name, value);
        }
        Ok(Self {
            wasi: wasi(setup, &serving)?,
            config,
            serving,
            instances: 0,
        })
    }
}

impl SpareSurroundings {
    /// Where the instances of this generation leave their surroundings. A guest of 0.3 writes
    /// output in the background, which may continue when the next instance runs.
    pub(super) fn of(&self, generation: Generation) -> Option<Self> {
        (generation == Generation::P2).then(|| self.clone())
    }

    fn pop(&self) -> Option<Surroundings> {
        self.0.lock().pop()
    }

    /// Keeps what an instance leaves, unless there is enough.
    pub(super) fn leave(&self, mut left: Surroundings) {
        left.instances += 1;
        left.serving.set(None);
        let mut spare = self.0.lock();
        if left.instances < INSTANCES_MAX && spare.len() < SPARE_MAX {
            spare.push(left);
        }
    }

    /// Drops all of them.
    pub(super) fn clear(&self) {
        let spare = std::mem::take(&mut *self.0.lock());
        drop(spare);
    }
}

/// Environment, arguments, output and mounts. There are no sockets and no other files.
fn wasi(setup: &GuestSetup, serving: &Serving) -> Result<WasiCtx, Failure> {
    let mut builder = WasiCtx::builder();
    builder
        .envs(&setup.environment)
        .args(&setup.arguments)
        .stdout(LineStream::new(
            setup.events.clone(),
            serving.clone(),
            Stream::Stdout,
        ))
        .stderr(LineStream::new(
            setup.events.clone(),
            serving.clone(),
            Stream::Stderr,
        ))
        .max_random_size(RANDOM_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(folder) = &setup.working_dir {
        builder.initial_cwd(folder);
    }
    for mount in &setup.mounts {
        let permissions = if mount.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        builder
            .preopened_dir(mount.path(), &mount.guest_path, permissions)
            .map_err(|error| {
                let path = mount.host_path.display();
                Failure::Start(
                    format!("cannot mount {path} at {}: {error}", mount.guest_path).into(),
                )
            })?;
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            wasi: WasiCtx::builder().build(),
            config: WasiConfigVariables::new(),
            serving: Serving::default(),
            instances: 0,
        }
    }

    #[test]
    fn few_are_kept_and_none_forever() {
        let spare = SpareSurroundings::default();
        for _ in 0..2 * SPARE_MAX {
            spare.leave(surroundings());
        }
        assert_eq!(spare.0.lock().len(), SPARE_MAX);
        spare.clear();
        assert!(spare.pop().is_none());

        spare.leave(surroundings());
        let mut instances = 1;
        while let Some(left) = spare.pop() {
            instances += 1;
            spare.leave(left);
        }
        assert_eq!(instances, INSTANCES_MAX);
    }

    #[test]
    fn output_of_the_next_instance_is_not_attributed_to_the_previous_request() {
        let spare = SpareSurroundings::default();
        let used = surroundings();
        used.serving.set(Some(7));
        spare.leave(used);
        let next = spare.pop().expect("one is kept");
        assert_eq!(next.serving.trace(), None);
    }
}
