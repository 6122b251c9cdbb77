//! Disks and database files in trouble: a pod gets errors and waits, its neighbour notices
//! nothing, and no acknowledged write is lost.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{
    OWN, all_at_once, ask, refused, start_with_neighbour, start_with_neighbour_and,
    while_neighbour_is_served,
};
use crate::support::{Host, eventually};

const INSERT: &str = "insert into x values (1)";

/// A disk with the databases of the guest `sql`, without those of its neighbour.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/binary/data/hostile/disk.c"
        );
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("disk.so"))
            .args([source, "-ldl"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "the C compiler, which the linker of Rust needs too"
        );
        Self { folder }
    }

    fn start(&self) -> Host {
        let host = start_with_neighbour_and("20s", "256Mi", |host| {
            let path = |name: &str| self.path(name).display().to_string();
            host.env("LD_PRELOAD", &path("disk.so"))
                .env("DISK_STATE", &path("state"))
                .env("DISK_FOLDER", "/databases/test/bad/")
        });
        let made = ask(&host, "script", OWN, "create table x (a)", &[]);
        assert_eq!(made.status, 200, "{}", made.body);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn becomes(&self, state: &str) {
        std::fs::write(self.path("state"), state).expect("a file");
    }
}

fn count(host: &Host) -> usize {
    let rows = ask(host, "", OWN, "select count(*) from x", &[]);
    assert_eq!(rows.status, 200, "{}", rows.body);
    let count = rows.json()["rows"][0][0].as_u64().expect("a number");
    usize::try_from(count).expect("a count")
}

/// Writes so many rows at once, and returns how many were acknowledged.
fn write(host: &Host, rows: usize, error: &str) -> usize {
    let acknowledged = AtomicUsize::new(0);
    all_at_once(host, rows, |host| {
        let written = ask(host, "execute", OWN, INSERT, &[]);
        match written.status {
            200 => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            _ => refused(&written, error),
        }
    });
    acknowledged.into_inner()
}

#[test]
fn slow_disk_delays_only_the_pod_that_uses_it() {
    let disk = Disk::new();
    let host = disk.start();
    assert_eq!(write(&host, 20, "busy"), 20);
    disk.becomes("slow");
    let mut written = 20;
    while_neighbour_is_served(&host, || {
        let began = Instant::now();
        written += write(&host, 20, "busy");
        let took = began.elapsed();
        // Twenty commits, one after the other, would take forty seconds.
        assert!(took < Duration::from_secs(15), "{took:?}");
    });
    assert!(written > 20, "some were committed together");
    disk.becomes("healthy");
    assert_eq!(count(&host), written);
    assert_eq!(write(&host, 1, "busy"), 1);
}

#[test]
fn full_disk_fails_writes_until_there_is_space_again() {
    let disk = Disk::new();
    let host = disk.start();
    let mut written = write(&host, 20, "unavailable");
    assert_eq!(written, 20);
    disk.becomes("full");
    while_neighbour_is_served(&host, || {
        assert_eq!(write(&host, 20, "unavailable"), 0);
        let read = ask(&host, "", OWN, "select count(*) from x", &[]);
        assert_eq!(read.json()["rows"][0][0], 20, "{}", read.body);
    });
    disk.becomes("healthy");
    written += write(&host, 20, "unavailable");
    assert_eq!(written, 40);
    assert_eq!(count(&host), written);
    let check = ask(&host, "", OWN, "pragma integrity_check", &[]).json();
    assert_eq!(check["rows"][0][0], "ok");
}

#[test]
fn file_that_another_program_has_locked_is_busy_until_it_is_free() {
    let host = start_with_neighbour("20s", "256Mi");
    let folder = host.data.join("databases/test/bad");
    eventually("the folder exists", || {
        std::fs::create_dir_all(&folder).ok()
    });
    let other = rusqlite::Connection::open(folder.join("own.db")).expect("a database");
    other
        .execute_batch("create table x (a); begin exclusive; insert into x values (1)")
        .expect("a lock");
    while_neighbour_is_served(&host, || {
        for path in ["", "execute"] {
            let began = Instant::now();
            let asked = ask(&host, path, OWN, "select count(*) from x", &[]);
            refused(&asked, "busy");
            let took = began.elapsed();
            assert!(took < Duration::from_secs(15), "{took:?}");
        }
    });
    other.execute_batch("commit").expect("the end");
    drop(other);
    assert_eq!(count(&host), 1);
    assert_eq!(write(&host, 1, "busy"), 1);
}
