//! Programs that the tests and the benchmark need besides Rust, git and a C compiler.
//!
//! On Debian as root they are installed; continuous integration relies on that. Elsewhere
//! only the command is printed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, cargo, is_on_path, read};

/// Per prerequisite: its name, how it is detected, and how it is installed.
pub(crate) const NODE: Prerequisite = Prerequisite {
    what: "Node.js 20 or newer",
    programs: &["node", "npm"],
    works: None,
    from: Debian(&["nodejs", "npm"]),
};
pub(crate) const WRK: Prerequisite = Prerequisite {
    what: "wrk",
    programs: &["wrk"],
    works: None,
    from: Debian(&["wrk"]),
};
pub(crate) const PYTHON: Prerequisite = Prerequisite {
    what: "Python",
    programs: &["python3"],
    // Debian has a separate package for virtual environments.
    works: Some(&["python3", "-c", "import ensurepip, venv"]),
    from: Debian(&["python3", "python3-venv"]),
};
pub(crate) const REGISTRY: Prerequisite = Prerequisite {
    what: "the distribution registry",
    programs: &["docker-registry"],
    works: None,
    from: Debian(&["docker-registry"]),
};
pub(crate) const OPENSSL: Prerequisite = Prerequisite {
    what: "OpenSSL",
    programs: &["openssl"],
    works: None,
    from: Debian(&["openssl"]),
};
pub(crate) const CXX: Prerequisite = Prerequisite {
    what: "a C++ compiler",
    programs: &["c++"],
    works: None,
    from: Debian(&["g++"]),
};
pub(crate) const KUBECTL: Prerequisite = Prerequisite {
    what: "kubectl",
    programs: &["kubectl"],
    works: None,
    from: Debian(&["kubernetes-client"]),
};
pub(crate) const PROMETHEUS: Prerequisite = Prerequisite {
    what: "Prometheus",
    programs: &["prometheus", "promtool"],
    works: None,
    from: Debian(&["prometheus"]),
};
pub(crate) const POSTGRESQL: Prerequisite = Prerequisite {
    what: "PostgreSQL",
    programs: &["psql"],
    // Debian does not put the server's programs on the `PATH`.
    works: Some(&[
        "sh",
        "-c",
        "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb",
    ]),
    from: Debian(&["postgresql"]),
};
pub(crate) const CHROMIUM: Prerequisite = Prerequisite {
    what: "Chromium",
    programs: &["chromium"],
    works: None,
    from: Debian(&["chromium"]),
};
pub(crate) const CONTAINERS: Prerequisite = Prerequisite {
    what: "podman, buildah and what containers need",
    programs: &[
        "podman",
        "buildah",
        "runc",
        "catatonit",
        "iptables",
        "debootstrap",
        "docker-compose",
    ],
    // Debian does not put podman's network programs on the `PATH`.
    works: Some(&[
        "sh",
        "-c",
        "test -x /usr/lib/podman/netavark && test -x /usr/lib/podman/aardvark-dns",
    ]),
    from: Debian(&[
        "podman",
        "buildah",
        "runc",
        "catatonit",
        "netavark",
        "aardvark-dns",
        "iptables",
        "debootstrap",
        "docker-compose",
    ]),
};
pub(crate) const NGHTTP: Prerequisite = Prerequisite {
    what: "nghttp2's client",
    programs: &["nghttp"],
    works: None,
    from: Debian(&["nghttp2-client"]),
};
pub(crate) const CARGO_DENY: Prerequisite = Prerequisite {
    what: "cargo-deny",
    programs: &["cargo-deny"],
    works: None,
    from: CratesIo("cargo-deny@0.20.2"),
};

use Source::{CratesIo, Debian};

/// A required program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prerequisite {
    /// Its common name.
    what: &'static str,
    /// It is installed if all of these are on the `PATH`.
    programs: &'static [&'static str],
    /// And if this command succeeds, where a program alone is not sufficient.
    works: Option<&'static [&'static str]>,
    from: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// Debian packages of these names.
    Debian(&'static [&'static str]),
    /// A crate, as `NAME@VERSION`.
    CratesIo(&'static str),
}

/// Installs the missing programs, or fails with instructions.
pub(crate) fn ensure(wanted: &[Prerequisite]) -> Result<()> {
    let missing = |wanted: &&Prerequisite| !wanted.is_there();
    let missing: Vec<_> = wanted.iter().filter(missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install()? {
        let told = missing
            .iter()
            .map(|missing| format!("\n  {}: {}", missing.what, missing.command()));
        bail!(
            "some programs are missing; install them with{}",
            told.collect::<String>()
        );
    }
    let packages: Vec<_> = missing
        .iter()
        .flat_map(|missing| missing.debian())
        .copied()
        .collect();
    if !packages.is_empty() {
        install_debian(&packages)?;
    }
    for missing in &missing {
        if let CratesIo(package) = missing.from {
            process::run(cargo().args(["install", "--locked", package]))?;
        }
    }
    match missing.iter().find(|missing| !missing.is_there()) {
        None => Ok(()),
        Some(missing) => bail!("{} was installed but is not on the PATH", missing.what),
    }
}

impl Prerequisite {
    fn is_there(&self) -> bool {
        let works = |command: &[&str]| read(Command::new(command[0]).args(&command[1..])).is_ok();
        self.programs.iter().all(|program| is_on_path(program)) && self.works.is_none_or(works)
    }

    fn debian(&self) -> &'static [&'static str] {
        match self.from {
            Debian(packages) => packages,
            CratesIo(_) => &[],
        }
    }

    fn command(&self) -> String {
        match self.from {
            Debian(packages) => format!(
                "apt-get install {} (or the same packages of your system)",
                packages.join(" ")
            ),
            CratesIo(package) => format!("cargo install --locked {package}"),
        }
    }
}

fn may_install() -> Result<bool> {
    let is_debian = Path::new("/etc/debian_version").exists() && is_on_path("apt-get");
    Ok(is_debian && read(Command::new("id").arg("-u"))?.trim() == "0")
}

fn install_debian(packages: &[&str]) -> Result<()> {
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages);
    process::run(&mut install)
}
