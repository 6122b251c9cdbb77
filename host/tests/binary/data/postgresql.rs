//! `galleria:sql` on a real PostgreSQL server: types, errors, transactions, and the
//! access rules for connections.

mod shop;
mod trouble;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use super::{ask, refused};
use crate::support::{
    Answer, Galleria, Host, POSTGRESQL_HOST, Postgresql, Service, eventually, manifests,
};

/// One server that the harmless tests share; it stops when the last of them ends.
fn server() -> Arc<Postgresql> {
    static SERVER: Mutex<Weak<Postgresql>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgresql::start());
        *server = Arc::downgrade(&started);
        started
    })
}

/// Runs the guest `sql` with access to the server.
fn start(server: &Postgresql) -> Host {
    start_with(&server.service_entry("test"), |service| service)
}

fn start_with(objects: &str, configure: impl FnOnce(Service) -> Service) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let service = Service::new("sql", "sql").annotation("galleria.dev/isolation", "instance");
    let text = manifests(&[configure(service)]) + objects;
    std::fs::write(&file, text).expect("a file");
    Galleria::run(file).start()
}

#[track_caller]
fn message(answer: &Answer) -> String {
    let message = answer.json()["message"].as_str().map(str::to_owned);
    message.unwrap_or_else(|| panic!("no error: {}", answer.body))
}

#[test]
fn values_of_every_type_survive_a_round_trip() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres");
    let made = ask(
        &host,
        "script",
        &url,
        "create type mood as enum ('glad'); create domain name as text;
         create table kinds (a bigint, b boolean, c bigint, d double precision, e text, f bytea)",
        &[],
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let insert = "insert into kinds values ($1, $2, $3, $4, $5, $6) returning *";
    let kept = ask(&host, "kinds", &url, insert, &[]).json();
    assert_eq!(kept["columns"], json!(["a", "b", "c", "d", "e", "f"]));
    assert_eq!(
        kept["rows"],
        json!([[Value::Null, true, i64::MIN, 0.1, "käse", {"blob": [0, 255]}]])
    );
    // A parameter is converted to the type that the statement expects.
    let places = "select $1::smallint, $2::real, $3::numeric, $4::uuid, $5::timestamptz, $6::date,
                  $7::jsonb, $8::mood, $9::timestamp, $10::name, pg_sleep(0)";
    let uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    let found = ask(
        &host,
        "",
        &url,
        places,
        &[
            "-7",
            "0.5",
            "-12345678.900",
            uuid,
            "2026-01-02T03:04:05.000006+01:00",
            "2026-01-02",
            "{\"a\": 1}",
            "glad",
            "2026-01-02 03:04:05",
            "ann",
        ],
    );
    assert_eq!(
        found.json()["rows"],
        json!([[
            -7,
            0.5,
            "-12345678.900",
            uuid,
            "2026-01-02T02:04:05.000006Z",
            "2026-01-02",
            "{\"a\": 1}",
            "glad",
            "2026-01-02T03:04:05",
            "ann",
            Value::Null,
        ]]),
        "{}",
        found.body
    );
    let array = ask(&host, "", &url, "select array[1] as many", &[]);
    refused(&array, "invalid-statement");
    assert!(message(&array).contains("`many::text`"), "{}", array.body);
}

#[test]
fn errors_tell_the_guest_what_to_do() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres");
    let ask = |path: &str, statement: &str, parameters: &[&str]| {
        ask(&host, path, &url, statement, parameters)
    };
    let made = ask(
        "script",
        "create table errors (a int primary key, b text)",
        &[],
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let insert = "insert into errors values ($1, $2)";
    assert_eq!(
        ask("execute", insert, &["1", "x"]).json(),
        json!({"changed": 1})
    );
    let twice = ask("execute", insert, &["1", "row of another"]);
    refused(&twice, "constraint-violated");
    assert!(message(&twice).contains("errors_pkey"), "{}", twice.body);
    for (statement, parameters, says) in [
        ("select nothing from nowhere", &[][..], "nowhere"),
        (insert, &["2"], "has 2 parameters, but got 1"),
        (insert, &["2", "NUL \0 in a text"], "0x00"),
        (insert, &["99999999999", "x"], "out of range"),
        ("select 1; select 2", &[], "multiple commands"),
        ("select 'NUL \0'", &[], "NUL"),
        ("begin", &[], "`commit` and `rollback` of the interface"),
    ] {
        let answer = ask("execute", statement, parameters);
        refused(&answer, "invalid-statement");
        assert!(message(&answer).contains(says), "{}", answer.body);
    }
    // A row of 50 MB, such a row after many others, and more rows than a result may have.
    for statement in [
        "select repeat('x', 50000000)",
        "select repeat('x', 3000000) from generate_series(1, 4)",
        "select generate_series(1, 20000)",
    ] {
        refused(&ask("", statement, &[]), "too-large");
    }
    // A COPY waits for rows or sends rows, which the interface does not support in either
    // direction.
    for statement in ["copy errors from stdin", "copy errors to stdout"] {
        for path in ["", "execute", "script"] {
            refused(&ask(path, statement, &[]), "invalid-statement");
        }
    }
    let copying = "select count(*) from pg_stat_activity where query like 'copy%'";
    eventually("no connection is left behind", || {
        (server.ask(copying) == "0").then_some(())
    });
    assert_eq!(
        ask("", "select b from errors", &[]).json()["rows"],
        json!([["x"]])
    );
    // A rejected login is reported without the password.
    for (wrong, error) in [
        (url.replace("open", "shut"), "access-denied"),
        (url.replace("/postgres", "/nothing"), "unavailable"),
        (url.clone() + "?sslmode=require", "unavailable"),
        (url.clone() + "?sslmode=maybe", "invalid-url"),
    ] {
        let answer = super::ask(&host, "", &wrong, "select 1", &[]);
        refused(&answer, error);
        assert!(!answer.body.contains("sesame"), "{}", answer.body);
    }
}

#[test]
fn transactions_are_atomic() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres") + "?pool_max_conns=1";
    let ask = |path: &str, statement: &str| ask(&host, path, &url, statement, &[]);
    let count = || ask("", "select count(*) from steps").json()["rows"][0][0].clone();
    assert_eq!(ask("script", "create table steps (a int)").status, 200);
    assert_eq!(ask("drop", "insert into steps values (1)").status, 200);
    assert_eq!(count(), 0, "a dropped transaction is rolled back");
    assert_eq!(ask("commit", "insert into steps values (1)").status, 200);
    assert_eq!(count(), 1);
    refused(
        &ask("commit", "insert into nowhere values (1)"),
        "invalid-statement",
    );
    refused(
        &ask(
            "script",
            "insert into steps values (2); this is no statement",
        ),
        "invalid-statement",
    );
    assert_eq!(count(), 1, "a failed script changes nothing");
    // Session settings of one statement do not affect the next one.
    assert_eq!(ask("execute", "set search_path to nowhere").status, 200);
    assert_eq!(count(), 1);
    // A statement that was prepared before a table changed does not fail either.
    assert_eq!(
        ask("", "select * from steps").json()["columns"],
        json!(["a"])
    );
    server.ask("alter table steps add b int");
    assert_eq!(
        ask("", "select * from steps").json()["columns"],
        json!(["a", "b"])
    );
}

#[test]
fn undeclared_server_cannot_be_reached() {
    let server = server();
    let host = start_with("", |service| service);
    let undeclared = ask(&host, "", &server.url("postgres"), "select 1", &[]);
    refused(&undeclared, "access-denied");
    let allowing = "a ServiceEntry with hosts: [db.example.com], ports: [{number: 5432, name: tcp, protocol: TCP}]";
    assert!(
        message(&undeclared).contains(allowing),
        "{}",
        undeclared.body
    );
    // A workload of the mesh is not a database server.
    let own = server.url("postgres").replace(POSTGRESQL_HOST, "sql:80");
    refused(&ask(&host, "", &own, "select 1", &[]), "access-denied");
}

#[test]
fn sslmode_decides_about_tls() {
    let server = Postgresql::start_secure();
    let authority = |name: &str, pem: &str| {
        let lines = pem.lines().map(|line| format!("    {line}\n"));
        format!(
            "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: test}}
data:
  ca.pem: |
{}",
            lines.collect::<String>()
        )
    };
    let objects = server.service_entry("test") + &authority("authority", &server.authority());
    let volume = "env: []
          volumeMounts: [{name: authority, mountPath: /certs}]
      volumes: [{name: authority, configMap: {name: authority}}]";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let text = manifests(&[Service::new("sql", "sql")]).replace("env: []", volume) + &objects;
    std::fs::write(&file, text).expect("a file");
    let host = Galleria::run(file).start();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    for (parameters, expected) in [
        ("", true),
        ("?sslmode=disable", false),
        ("?sslmode=require", true),
        ("?sslmode=verify-full&sslrootcert=/certs/ca.pem", true),
    ] {
        let url = server.url("postgres") + parameters;
        let answer = ask(&host, "", &url, encrypted, &[]);
        assert_eq!(
            answer.json()["rows"],
            json!([[expected]]),
            "{parameters}: {}",
            answer.body
        );
    }
    // No public authority signed the certificate, and the guest has no other file.
    let public = ask(
        &host,
        "",
        &(server.url("postgres") + "?sslmode=verify-full"),
        "select 1",
        &[],
    );
    refused(&public, "unavailable");
    assert!(message(&public).contains("certificate"), "{}", public.body);
    let file = server.url("postgres") + "?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem";
    refused(&ask(&host, "", &file, "select 1", &[]), "access-denied");
}
