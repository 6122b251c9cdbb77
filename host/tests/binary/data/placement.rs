//! Where databases are stored, and how database files in volumes are imported.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::json;

use super::{SHOP, ask, refused, start};
use crate::support::Host;

fn volume(host: &Host) -> PathBuf {
    host.data.join("volumes/test/data")
}

fn databases(host: &Host) -> PathBuf {
    host.data.join("databases/test/data")
}

/// Creates a database as an earlier version of the host left it, with rows only in the
/// write-ahead log.
fn leave_database(host: &Host, name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join(name);
    let connection = rusqlite::Connection::open(&made).expect("a database");
    connection
        .execute_batch(
            "pragma journal_mode = wal; create table t (a); insert into t values ('kept'), ('too')",
        )
        .expect("a table");
    for suffix in ["", "-wal"] {
        let file = format!("{name}{suffix}");
        std::fs::copy(folder.path().join(&file), volume(host).join(&file)).expect("a copy");
    }
}

#[test]
fn database_is_stored_outside_the_volume() {
    let host = start(false);
    let made = ask(&host, "script", SHOP, "create table t (a)", &[]);
    assert_eq!(made.status, 200, "{}", made.body);
    let names = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        names.sort();
        names
    };
    assert!(names(volume(&host)).is_empty());
    assert_eq!(names(databases(&host)), ["shop.db", "shop.db-wal"]);
    // SQLite ignores what a guest creates at that path later.
    std::fs::write(volume(&host).join("shop.db"), "garbage").expect("a file");
    std::fs::write(volume(&host).join("shop.db-wal"), "garbage").expect("a file");
    let read = ask(&host, "", SHOP, "select count(*) from t", &[]);
    assert_eq!(read.json()["rows"], json!([[0]]), "{}", read.body);
}

#[test]
fn database_in_a_volume_is_imported_with_its_log() {
    let host = start(false);
    leave_database(&host, "shop.db");
    let read = ask(&host, "", SHOP, "select a from t", &[]);
    assert_eq!(
        read.json()["rows"],
        json!([["kept"], ["too"]]),
        "{}",
        read.body
    );
    assert!(!volume(&host).join("shop.db").exists());
    assert!(!volume(&host).join("shop.db-wal").exists());
    let written = ask(&host, "execute", SHOP, "insert into t values ('new')", &[]);
    assert_eq!(written.status, 200, "{}", written.body);
    assert!(
        host.stderr().contains("imported a database"),
        "{}",
        host.stderr()
    );
}

#[test]
fn file_that_is_not_a_database_is_not_imported() {
    let host = start(false);
    let url = |name: &str| format!("sqlite:/data/{name}");
    leave_database(&host, "good.db");
    std::fs::write(volume(&host).join("text.db"), "x".repeat(9_000)).expect("a file");
    symlink("/etc/passwd", volume(&host).join("link.db")).expect("a link");
    symlink(databases(&host), volume(&host).join("up")).expect("a link");
    std::fs::create_dir(volume(&host).join("folder.db")).expect("a folder");
    for (name, error) in [
        ("text.db", "unavailable"),
        ("link.db", "access-denied"),
        ("up/shop.db", "access-denied"),
        ("folder.db", "unavailable"),
        ("shop.db-wal", "invalid-url"),
    ] {
        refused(&ask(&host, "", &url(name), "select 1", &[]), error);
    }
    assert!(
        volume(&host).join("text.db").exists(),
        "the file is unchanged"
    );
    let read = ask(&host, "", &url("good.db"), "select count(*) from t", &[]);
    assert_eq!(read.json()["rows"], json!([[2]]), "{}", read.body);
}

#[test]
fn databases_are_backed_up_while_they_are_written() {
    let host = start(false);
    let made = ask(
        &host,
        "script",
        SHOP,
        "create table t (a); insert into t values (7)",
        &[],
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("backup");
    let to = to.to_str().expect("a path");
    let copied = host.galleria(&["backup", to]);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    let copy = folder.path().join("backup/databases/test/data/shop.db");
    assert_eq!(copied.stdout.trim(), copy.display().to_string());
    let copy = rusqlite::Connection::open(copy).expect("a database");
    let rows: i64 = copy
        .query_row("select sum(a) from t", (), |row| row.get(0))
        .expect("a row");
    assert_eq!(rows, 7);
    assert_eq!(
        host.galleria(&["backup", to]).code,
        Some(1),
        "the target exists already"
    );
    let written = ask(&host, "execute", SHOP, "insert into t values (8)", &[]);
    assert_eq!(written.status, 200, "{}", written.body);
}
