//! The programs that can build images.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{is_on_path, read};

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    Docker,
    Podman,
    Buildah,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Buildah];

    /// The first engine that is installed and, for Docker, whose daemon responds.
    pub(crate) fn that_works() -> Result<Self> {
        let works = |engine: &Self| {
            let program = engine.program();
            is_on_path(program) && read(Command::new(program).arg("info")).is_ok()
        };
        Self::ALL.into_iter().find(works).context(
            "no container engine works here: install docker, podman or buildah, or start the \
             installed one",
        )
    }

    /// The build command without its arguments; `seconds` is the creation time of the
    /// image.
    pub(crate) fn build(self, seconds: Option<&str>) -> Command {
        let mut build = Command::new(self.program());
        build.arg("build");
        match self {
            Self::Docker => {
                build.env("DOCKER_BUILDKIT", "1");
                if let Some(seconds) = seconds {
                    build.arg("--build-arg");
                    build.arg(format!("SOURCE_DATE_EPOCH={seconds}"));
                }
            }
            Self::Podman | Self::Buildah => {
                // The OCI format cannot store a health check.
                build.args(["--format", "docker"]);
                if let Some(seconds) = seconds {
                    build.args(["--timestamp", seconds]);
                }
            }
        }
        build
    }

    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
        }
    }
}
