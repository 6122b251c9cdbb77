//! Which database a URL selects, and whether the guest may open it.
//!
//! Nothing here touches the file system: this runs on a thread that serves requests. Symbolic
//! links, which guests can create in their volumes, are refused when a file is opened, by
//! `sqlite/placement.rs` and [`PemFile`].

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::postgres::Server;
use crate::guest::{Mount, VolumeQuota};
use crate::tls::PemFile;

/// A database that the guest may open.
#[derive(Debug)]
pub(super) enum Grant {
    Sqlite(File),
    /// Without its endpoints, which the mesh resolves.
    Postgresql(Box<Server>),
}

/// A SQLite file that the guest may open.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// The path on the host, in a folder that no guest can access.
    pub(super) path: PathBuf,
    /// A file in the volume, which is imported if it exists.
    pub(super) in_volume: InVolume,
    pub(super) read_only: bool,
    /// The quota of the volume, which includes its databases.
    pub(super) quota: Option<Arc<VolumeQuota>>,
    /// The mount path of the volume in the guest.
    pub(super) mounted_at: String,
}

/// A file in a volume.
#[derive(Debug, Clone)]
pub(super) struct InVolume {
    /// The mounted folder.
    pub(super) folder: Arc<OwnedFd>,
    /// The path of the file below the folder.
    pub(super) below: PathBuf,
}

/// Suffixes that SQLite and the host append to the name of a database.
const SUFFIXES: [&str; 4] = ["-wal", "-shm", "-journal", "-partial"];

/// Parses `url`, which has no surrounding white space. A SQLite file must be in one of the
/// volumes; the mesh decides whether a server may be reached.
///
/// # Errors
/// `invalid-url` if it is not the URL of a database, `access-denied` for a file that is not in
/// a mounted volume.
pub(super) fn grant(url: &str, mounts: &[Mount]) -> Result<Grant, Error> {
    let url = url.strip_prefix("jdbc:").unwrap_or(url);
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(Error::InvalidUrl(
            "a database URL must begin with a scheme, as in `sqlite:/data/shop.db`".into(),
        ));
    };
    match scheme {
        "sqlite" => sqlite(rest, mounts).map(Grant::Sqlite),
        "postgres" | "postgresql" => {
            let server = Server::read(url, |path| authorities(Path::new(path), mounts))?;
            Ok(Grant::Postgresql(Box::new(server)))
        }
        "mysql" | "mariadb" => Err(Error::InvalidUrl(format!(
            "this host does not support `{scheme}` databases; use `sqlite:` or `postgres:`"
        ))),
        // Without a scheme, the part before the colon may be a password.
        _ => Err(Error::InvalidUrl(
            "unknown kind of database; use `sqlite:` or `postgres:`".into(),
        )),
    }
}

fn sqlite(rest: &str, mounts: &[Mount]) -> Result<File, Error> {
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
    let (mount, below) = find(path, mounts)?;
    let (Some(databases), Some(folder)) = (&mount.databases, &mount.opened) else {
        return Err(Error::AccessDenied(format!(
            "`{}` is in a volume of files; mount a claim or an emptyDir for databases",
            path.display()
        )));
    };
    let name = path.to_string_lossy();
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        return Err(Error::InvalidUrl(format!(
            "`{name}` is reserved for a file next to a database; choose another name"
        )));
    }
    Ok(File {
        path: databases.join(below),
        in_volume: InVolume {
            folder: folder.clone(),
            below: below.to_path_buf(),
        },
        read_only: mount.read_only,
        quota: mount.quota.clone(),
        mounted_at: mount.guest_path.clone(),
    })
}

/// The file of `sslrootcert`, which is read again for every connection. The guest must not be
/// able to write it.
fn authorities(path: &Path, mounts: &[Mount]) -> Result<PemFile, Error> {
    let (mount, below) = find(path, mounts)?;
    if !mount.read_only {
        return Err(Error::AccessDenied(format!(
            "`{}` is not a file of a volume that is mounted read-only; mount a configMap or a secret",
            path.display()
        )));
    }
    let host_path = mount.host_path.join(below);
    let in_volume = host_path.strip_prefix(&mount.volume).unwrap_or(below);
    Ok(PemFile::in_volume(&mount.volume, in_volume))
}

/// The mount that contains a path of the guest, and the rest of the path below it.
fn find<'a>(path: &'a Path, mounts: &'a [Mount]) -> Result<(&'a Mount, &'a Path), Error> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.file_name().is_none() {
        return Err(Error::InvalidUrl(format!(
            "`{}` is not an absolute path of a file; write it as in `sqlite:/data/shop.db`",
            path.display()
        )));
    }
    let mount = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.guest_path))
        .max_by_key(|mount| mount.guest_path.len())
        .ok_or_else(|| {
            Error::AccessDenied(format!(
                "`{}` is not in a mounted volume; mount one with volumes and volumeMounts",
                path.display()
            ))
        })?;
    Ok((mount, path.strip_prefix(&mount.guest_path).unwrap_or(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mounted claim.
    fn claim(host: &Path, guest: &str, read_only: bool) -> Mount {
        let opened = std::fs::File::open(host).expect("a folder");
        Mount {
            databases: Some(Path::new("/host").join(guest.trim_start_matches('/'))),
            opened: Some(Arc::new(opened.into())),
            ..Mount::new(host, guest, read_only)
        }
    }

    fn mounts() -> Vec<Mount> {
        let folder = std::env::temp_dir();
        vec![
            claim(&folder, "/data", false),
            claim(&folder, "/data/archive", true),
            Mount::new(&folder, "/files", true),
        ]
    }

    #[track_caller]
    fn opened(url: &str, path: &str, read_only: bool, mounted_at: &str) {
        let Ok(Grant::Sqlite(file)) = grant(url, &mounts()) else {
            unreachable!("{url}");
        };
        assert_eq!(file.path, Path::new(path), "{url}");
        assert_eq!(file.read_only, read_only, "{url}");
        assert_eq!(file.mounted_at, mounted_at, "{url}");
    }

    #[test]
    fn file_in_a_volume_is_found_in_every_spelling() {
        for url in [
            "sqlite:/data/shop.db",
            "sqlite:///data/shop.db",
            "jdbc:sqlite:/data/shop.db",
            "sqlite:///data/shop.db?mode=rwc",
        ] {
            opened(url, "/host/data/shop.db", false, "/data");
        }
    }

    #[test]
    fn innermost_volume_decides() {
        let url = "sqlite:/data/archive/2025.db";
        opened(url, "/host/data/archive/2025.db", true, "/data/archive");
    }

    #[test]
    fn files_outside_the_volumes_are_refused() {
        for url in [
            "sqlite:/etc/passwd",
            "sqlite:/data/../etc/passwd",
            "sqlite:/database/shop.db",
            "sqlite:shop.db",
            "sqlite::memory:",
            "sqlite:/data",
            "sqlite:/data/shop.db-wal",
            "sqlite:/data/shop.db-journal",
            "sqlite:/files/shop.db",
            "sqlite:/",
            "sqlite:",
            "postgres://ann@db/shop?sslmode=verify-ca&sslrootcert=/etc/ssl/ca.pem",
            "mysql://ann@db/shop",
            "file:/data/shop.db",
            "",
        ] {
            // `/data` itself is a folder: its path is granted, but SQLite cannot open it.
            if url != "sqlite:/data" {
                assert!(grant(url, &mounts()).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn authorities_must_be_in_a_read_only_volume() {
        let folder = Path::new("/host/certs");
        let found = |name: &str, read_only| {
            let mounts = [Mount::new(folder, "/certs", read_only)];
            authorities(Path::new(name), &mounts).ok()
        };
        let file = PemFile::in_volume(folder, Path::new("ca.pem"));
        assert_eq!(found("/certs/ca.pem", true), Some(file));
        assert_eq!(found("/certs/ca.pem", false), None);
        assert_eq!(found("/other/ca.pem", true), None);
    }
}
