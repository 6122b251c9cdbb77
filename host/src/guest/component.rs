//! A component: its file, compiled and linked once, and shared by all of its pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmparser::{BinaryReaderError, Parser, Payload};
use wasmtime::component;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

use super::cache::Lookup;
use super::command::CommandPre;
use super::engine::EngineError;
use super::state::GuestState;
use super::{Cache, Engine, linker};

/// The largest component file. Interpreters have 10 to 40 MB; a much larger file is a mistake.
pub(crate) const FILE_MAX: u64 = 256 << 20;

/// The version of WASI for which a component is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WasiVersion {
    /// `wasi:http/incoming-handler@0.2.x`, `wasi:cli/run@0.2.x`.
    P2,
    /// `wasi:http/handler@0.3.x`, `wasi:cli/run@0.3.x`.
    P3,
}

/// The export that the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The HTTP handler, once per request.
    Http,
    /// `run`, once.
    Run,
}

/// Why a file cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    #[error("cannot read component `{}`; check the path and its permissions", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("component `{}` has {size} bytes, more than the limit of {FILE_MAX}", path.display())]
    TooLarge { path: PathBuf, size: u64 },
    #[error(
        "`{}` is a core WebAssembly module, not a component; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`",
        path.display()
    )]
    CoreModule { path: PathBuf },
    #[error("`{}` is not a WebAssembly component; it may be corrupt: build it again", path.display())]
    Invalid {
        path: PathBuf,
        source: wasmtime::Error,
    },
    #[error(
        "component `{}` exports no HTTP handler; a service must export `wasi:http/incoming-handler@0.2` or `wasi:http/handler@0.3`",
        path.display()
    )]
    NoHttp { path: PathBuf },
    #[error(
        "component `{}` has no command to run; a Job's component must export `wasi:cli/run@0.2` or `wasi:cli/run@0.3`",
        path.display()
    )]
    NoCommand { path: PathBuf },
    #[error("component `{}` imports an interface that this host does not provide", path.display())]
    Imports {
        path: PathBuf,
        source: wasmtime::Error,
    },
    #[error("component `{}` cannot be loaded", path.display())]
    Engine { path: PathBuf, source: EngineError },
}

/// A compiled and linked component, from which instances are created.
pub(crate) struct Component {
    /// The path of the file, for messages.
    path: PathBuf,
    wasi_version: WasiVersion,
    http: Option<ProxyPre<GuestState>>,
    command: Option<CommandPre>,
    engine: Engine,
    /// The engine for which it was compiled.
    runtime: wasmtime::Engine,
    digest: [u8; 32],
    /// The duration of the compilation; `None` if the code came from the cache.
    compiled_in: Option<Duration>,
}

impl Component {
    /// Reads, compiles (or finds in the cache) and links the component in `path`.
    ///
    /// # Errors
    /// See [`ComponentError`].
    pub(crate) fn load(
        engine: &Engine,
        cache: &Cache,
        path: &Path,
    ) -> Result<Self, ComponentError> {
        let wasm = read(path)?;
        let exports = Exports::of(&wasm).map_err(|source| ComponentError::Invalid {
            path: path.into(),
            source: source.into(),
        })?;
        let wasi_version = exports
            .wasi_version()
            .ok_or_else(|| ComponentError::NoHttp { path: path.into() })?;
        let runtime = engine.wasmtime(wasi_version);
        let runtime = runtime.map_err(|source| ComponentError::Engine {
            path: path.into(),
            source,
        })?;
        let (component, compiled_in) = compile(runtime, cache, path, &wasm)?;
        let imports = |source| ComponentError::Imports {
            path: path.into(),
            source,
        };
        let instance = linker::linker(runtime, wasi_version)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(imports)?;
        let command = exports
            .run
            .contains(&wasi_version)
            .then(|| CommandPre::new(wasi_version, instance.clone()))
            .transpose();
        let http = exports.http.map(|wasi_version| match wasi_version {
            WasiVersion::P2 => p2::bindings::ProxyPre::new(instance).map(ProxyPre::P2),
            WasiVersion::P3 => p3::bindings::ServicePre::new(instance).map(ProxyPre::P3),
        });
        let digest = Sha256::digest(&wasm).into();
        Ok(Self {
            path: path.into(),
            wasi_version,
            http: http.transpose().map_err(imports)?,
            command: command.map_err(imports)?,
            engine: engine.clone(),
            runtime: runtime.clone(),
            digest,
            compiled_in,
        })
    }

    pub(crate) fn wasi_version(&self) -> WasiVersion {
        self.wasi_version
    }

    /// Checks that the component has the export for `entry`.
    ///
    /// # Errors
    /// It does not have the export.
    pub(crate) fn offers(&self, entry: Entry) -> Result<(), ComponentError> {
        match entry {
            Entry::Http => self.http().map(drop),
            Entry::Run => self.command().map(drop),
        }
    }

    /// The HTTP handler.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn http(&self) -> Result<&ProxyPre<GuestState>, ComponentError> {
        self.http.as_ref().ok_or_else(|| ComponentError::NoHttp {
            path: self.path.clone(),
        })
    }

    /// The exported `run`.
    ///
    /// # Errors
    /// There is none, or it belongs to another version of WASI than the HTTP handler.
    pub(super) fn command(&self) -> Result<&CommandPre, ComponentError> {
        self.command
            .as_ref()
            .ok_or_else(|| ComponentError::NoCommand {
                path: self.path.clone(),
            })
    }

    /// SHA-256 of the file.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The duration of the compilation; `None` if the code came from the cache.
    pub(crate) fn compiled_in(&self) -> Option<Duration> {
        self.compiled_in
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine for which the component was compiled.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.runtime
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ComponentError> {
    let failed = |source| ComponentError::Read {
        path: path.into(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > FILE_MAX {
        return Err(ComponentError::TooLarge {
            path: path.into(),
            size,
        });
    }
    let wasm = fs::read(path).map_err(failed)?;
    // The binary format starts at the fifth byte. Version 1 with layer 0 is a core module.
    if wasm.starts_with(b"\0asm\x01\0\0\0") {
        return Err(ComponentError::CoreModule { path: path.into() });
    }
    Ok(wasm)
}

fn compile(
    engine: &wasmtime::Engine,
    cache: &Cache,
    path: &Path,
    wasm: &[u8],
) -> Result<(component::Component, Option<Duration>), ComponentError> {
    match cache.load(engine, wasm) {
        Lookup::Hit(component) => return Ok((component, None)),
        Lookup::Miss => {}
        Lookup::Unusable { file, reason } => {
            let file = file.display();
            tracing::warn!(component = %path.display(), %file, reason, "cannot use cached code; recompiling");
        }
    }
    tracing::info!(component = %path.display(), "compiling");
    let started = Instant::now();
    let invalid = |source| ComponentError::Invalid {
        path: path.into(),
        source,
    };
    let code = engine.precompile_component(wasm).map_err(invalid)?;
    let took = started.elapsed();
    if let Err(error) = cache.store(engine, wasm, &code) {
        tracing::warn!(component = %path.display(), %error, "cannot cache compiled code");
    } else if let Lookup::Hit(component) = cache.load(engine, wasm) {
        return Ok((component, Some(took)));
    }
    #[expect(unsafe_code, reason = "wasmtime's only way to load what it compiled")]
    // SAFETY: these bytes have just been created by this engine.
    let component = unsafe { component::Component::deserialize(engine, &code) };
    Ok((component.map_err(invalid)?, Some(took)))
}

/// The exports of a component that the host can call.
#[derive(Default)]
struct Exports {
    http: Option<WasiVersion>,
    run: Vec<WasiVersion>,
}

impl Exports {
    /// Reads the outermost layer of the component. Its exports decide which engine compiles
    /// it.
    fn of(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut exports = Self::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.add(export?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(exports)
    }

    fn add(&mut self, name: &str) {
        if name.starts_with("wasi:http/incoming-handler@0.2.") {
            self.http = Some(WasiVersion::P2);
        } else if name.starts_with("wasi:http/handler@0.3.") {
            self.http = Some(WasiVersion::P3);
        } else if name.starts_with("wasi:cli/run@0.2.") {
            self.run.push(WasiVersion::P2);
        } else if name.starts_with("wasi:cli/run@0.3.") {
            self.run.insert(0, WasiVersion::P3);
        }
    }

    /// Toolchains add a `run` of 0.2 that does nothing to any program, so other exports take
    /// precedence.
    fn wasi_version(&self) -> Option<WasiVersion> {
        self.http.or(self.run.first().copied())
    }
}
