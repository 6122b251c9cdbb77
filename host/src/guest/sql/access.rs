//! Which database a URL means, and whether the guest may have it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::postgres::Server;
use crate::guest::{Mount, VolumeQuota};

/// What the guest may open.
#[derive(Debug)]
pub(super) enum Grant {
    Sqlite(File),
    /// Not yet said where it really is.
    Postgresql(Box<Server>),
}

/// A file that the guest may open.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// On the host, in a folder that no guest sees.
    pub(super) path: PathBuf,
    /// What there may be in the volume, to be taken over.
    pub(super) in_volume: InVolume,
    pub(super) read_only: bool,
    /// The account of the volume, which counts its databases too.
    pub(super) quota: Option<Arc<VolumeQuota>>,
    /// Where the guest sees the volume that it lies in.
    pub(super) mounted_at: String,
}

/// A file as a guest sees it.
#[derive(Debug, Clone)]
pub(super) struct InVolume {
    /// What is mounted.
    pub(super) folder: Arc<OwnedFd>,
    /// The path of the file below it.
    pub(super) below: PathBuf,
}

/// What SQLite and the host append to the name of a database.
const SUFFIXES: [&str; 4] = ["-wal", "-shm", "-journal", "-partial"];

/// Reads `url`, which has no white space around it. A SQLite file is looked for
/// in the volumes; whether a server may be reached is the mesh's to say.
///
/// # Errors
/// `invalid-url` for what is no database URL, `access-denied` for a file that
/// lies in no mounted volume or behind a symbolic link.
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
        // What is before a colon may be a password where the scheme is missing.
        _ => Err(Error::InvalidUrl(
            "unknown kind of database; use `sqlite:` or `postgres:`".into(),
        )),
    }
}

fn sqlite(rest: &str, mounts: &[Mount]) -> Result<File, Error> {
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
    let (mount, host_path) = find(path, mounts)?;
    let inner = path.strip_prefix(&mount.guest_path).unwrap_or(path);
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
    let below = host_path.strip_prefix(&mount.volume).unwrap_or(path);
    refuse_links(&mount.volume, below)?;
    Ok(File {
        path: databases.join(inner),
        in_volume: InVolume {
            folder: folder.clone(),
            below: inner.to_path_buf(),
        },
        read_only: mount.read_only,
        quota: mount.quota.clone(),
        mounted_at: mount.guest_path.clone(),
    })
}

/// The file of `sslrootcert`, which is read again with every connection: where
/// the guest cannot write, and not led elsewhere by a link. The files of secrets
/// and configMaps are links within their volume.
fn authorities(path: &Path, mounts: &[Mount]) -> Result<PathBuf, Error> {
    let (mount, host_path) = find(path, mounts)?;
    let real = |path: &Path| fs::canonicalize(path).ok();
    let inside = real(&host_path)
        .zip(real(&mount.volume))
        .is_some_and(|(file, volume)| file.starts_with(volume));
    if !mount.read_only || !inside {
        return Err(Error::AccessDenied(format!(
            "`{}` is not a file of a volume that is mounted read-only; mount a configMap or a secret",
            path.display()
        )));
    }
    Ok(host_path)
}

/// The volume that a path of the guest lies in, and the path on the host.
fn find<'a>(path: &Path, mounts: &'a [Mount]) -> Result<(&'a Mount, PathBuf), Error> {
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
    let inner = path.strip_prefix(&mount.guest_path).unwrap_or(path);
    Ok((mount, mount.host_path.join(inner)))
}

/// A guest can make links inside its volume; none may lead the host elsewhere.
fn refuse_links(root: &Path, inner: &Path) -> Result<(), Error> {
    let mut path = root.to_path_buf();
    for part in inner.components() {
        path.push(part);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Error::AccessDenied(
                "the path leads through a symbolic link".into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a claim is mounted.
    fn claim(host: &Path, guest: &str, read_only: bool) -> Mount {
        let opened = fs::File::open(host).expect("a folder");
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
    fn every_spelling_of_a_file_in_a_volume_is_found() {
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
    fn the_innermost_volume_decides() {
        let url = "sqlite:/data/archive/2025.db";
        opened(url, "/host/data/archive/2025.db", true, "/data/archive");
    }

    #[test]
    fn nothing_outside_the_volumes_is_reached() {
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
            // `/data` itself is a folder: it is granted a path that SQLite cannot open.
            if url != "sqlite:/data" {
                assert!(grant(url, &mounts()).is_err(), "{url}");
            }
        }
    }

    #[test]
    fn authorities_are_read_where_the_guest_cannot_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..2025")).expect("a folder");
        fs::write(path("..2025/ca.pem"), "").expect("a file");
        std::os::unix::fs::symlink("..2025", path("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/ca.pem", path("ca.pem")).expect("a link");
        std::os::unix::fs::symlink("/etc/hostname", path("other.pem")).expect("a link");
        let found = |name: &str, read_only| {
            let mounts = [Mount::new(folder.path(), "/certs", read_only)];
            authorities(Path::new(name), &mounts).ok()
        };
        assert_eq!(found("/certs/ca.pem", true), Some(path("ca.pem")));
        assert_eq!(found("/certs/ca.pem", false), None);
        assert_eq!(found("/certs/other.pem", true), None);
        assert_eq!(found("/certs/none.pem", true), None);
    }

    #[test]
    fn a_link_out_of_the_volume_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("shop.db")).expect("a link");
        let mounts = [claim(folder.path(), "/data", false)];
        assert!(matches!(
            grant("sqlite:/data/shop.db", &mounts),
            Err(Error::AccessDenied(_))
        ));
    }
}
