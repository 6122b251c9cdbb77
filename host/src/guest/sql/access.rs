//! Which database a URL means, and whether the guest may have it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Error;
use crate::guest::Mount;

/// A SQLite file that the guest may open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// On the host.
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// Reads `url` and finds the volume that its file lies in.
///
/// # Errors
/// `invalid-url` for what is no database URL, `access-denied` for a file that
/// lies in no mounted volume or behind a symbolic link.
pub(super) fn grant(url: &str, mounts: &[Mount]) -> Result<Grant, Error> {
    let url = url.trim();
    let url = url.strip_prefix("jdbc:").unwrap_or(url);
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(Error::InvalidUrl(
            "a database URL begins with a scheme, as in `sqlite:/data/shop.db`".into(),
        ));
    };
    match scheme {
        "sqlite" => sqlite(rest, mounts),
        "postgres" | "postgresql" | "mysql" | "mariadb" => Err(Error::AccessDenied(format!(
            "this host opens no `{scheme}` databases; use a SQLite file in a mounted volume"
        ))),
        _ => Err(Error::InvalidUrl(format!(
            "`{scheme}` is not a kind of database; use `sqlite:`"
        ))),
    }
}

fn sqlite(rest: &str, mounts: &[Mount]) -> Result<Grant, Error> {
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
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
                "`{}` lies in no mounted volume; mount one with volumes and volumeMounts",
                path.display()
            ))
        })?;
    let inner = path.strip_prefix(&mount.guest_path).unwrap_or(path);
    let host_path = mount.host_path.join(inner);
    let below = host_path.strip_prefix(&mount.volume).unwrap_or(inner);
    refuse_links(&mount.volume, below)?;
    Ok(Grant {
        path: host_path,
        read_only: mount.read_only,
    })
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

    fn mounts() -> Vec<Mount> {
        let mount = |host: &str, guest, read_only| Mount::new(Path::new(host), guest, read_only);
        vec![
            mount("/host/a", "/data", false),
            mount("/host/b", "/data/archive", true),
        ]
    }

    #[test]
    fn every_spelling_of_a_file_in_a_volume_is_found() {
        for url in [
            "sqlite:/data/shop.db",
            "sqlite:///data/shop.db",
            "jdbc:sqlite:/data/shop.db",
            " sqlite:/data/shop.db\n",
            "sqlite:///data/shop.db?mode=rwc",
        ] {
            let grant = grant(url, &mounts()).expect(url);
            assert_eq!(
                grant,
                Grant {
                    path: "/host/a/shop.db".into(),
                    read_only: false
                }
            );
        }
    }

    #[test]
    fn the_innermost_volume_decides() {
        let grant = grant("sqlite:/data/archive/2025.db", &mounts()).expect("granted");
        assert_eq!(
            grant,
            Grant {
                path: "/host/b/2025.db".into(),
                read_only: true
            }
        );
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
            "sqlite:/",
            "sqlite:",
            "postgres://db/shop",
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
    fn a_link_out_of_the_volume_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("shop.db")).expect("a link");
        let mounts = [Mount::new(folder.path(), "/data", false)];
        assert!(matches!(
            grant("sqlite:/data/shop.db", &mounts),
            Err(Error::AccessDenied(_))
        ));
    }
}
