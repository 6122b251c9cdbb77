//! `galleria:sql` on a real PostgreSQL server: types, errors, limits, TLS, and
//! the shop with its data there, whatever becomes of the server.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use serde_json::{Value, json};

use super::{ask, refused};
use crate::support::{
    Answer, Galleria, Host, POSTGRESQL_HOST, Postgresql, Service, eventually, manifests,
    shop_components,
};

/// One server for the tests that do it no harm, as long as one of them runs.
fn server() -> Arc<Postgresql> {
    static SERVER: Mutex<Weak<Postgresql>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgresql::start());
        *server = Arc::downgrade(&started);
        started
    })
}

/// The guest `sql` with the server given to it.
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
fn values_of_every_type_go_there_and_come_back() {
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
    // A parameter is read as what its place asks for.
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
fn errors_say_what_a_guest_can_do_about_them() {
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
        (insert, &["2"], "has 2 parameters, and was given 1"),
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
    // A row of 50 MB, a row after many, and more rows than an answer has.
    for statement in [
        "select repeat('x', 50000000)",
        "select repeat('x', 3000000) from generate_series(1, 4)",
        "select generate_series(1, 20000)",
    ] {
        refused(&ask("", statement, &[]), "too-large");
    }
    // A COPY waits for rows, or sends them, and neither end of it is the guest's.
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
    // Whoever is not let in is told so, without the password.
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
fn transactions_are_whole_or_nothing() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres") + "?pool_max_conns=1";
    let ask = |path: &str, statement: &str| ask(&host, path, &url, statement, &[]);
    let count = || ask("", "select count(*) from steps").json()["rows"][0][0].clone();
    assert_eq!(ask("script", "create table steps (a int)").status, 200);
    assert_eq!(ask("drop", "insert into steps values (1)").status, 200);
    assert_eq!(count(), 0, "a transaction that is dropped is rolled back");
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
    assert_eq!(count(), 1, "a script that fails changes nothing");
    // What a statement leaves in its connection does not meet the next one.
    assert_eq!(ask("execute", "set search_path to nowhere").status, 200);
    assert_eq!(count(), 1);
    // Nor does what was prepared before a table changed.
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
fn statement_that_never_ends_is_cut_off() {
    let server = server();
    let timeout = "galleria.dev/request-timeout";
    let host = start_with(&server.service_entry("test"), |service| {
        service.annotation(timeout, "3s")
    });
    let running = || {
        server.ask("select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'")
    };
    let limited = server.url("postgres") + "?statement_timeout=300";
    let began = Instant::now();
    let cut = ask(&host, "", &limited, "select pg_sleep(1000)", &[]);
    refused(&cut, "unavailable");
    assert!(message(&cut).contains("statement timeout"), "{}", cut.body);
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    assert_eq!(running(), "0");
    // A guest that is ended at its own deadline leaves none behind either.
    let given_up = ask(
        &host,
        "",
        &server.url("postgres"),
        "select pg_sleep(1000)",
        &[],
    );
    assert!(given_up.status >= 500, "{}", given_up.body);
    eventually("the server stops the statement", || {
        (running() == "0").then_some(())
    });
    let next = ask(&host, "", &limited, "select 1", &[]);
    assert_eq!(next.json()["rows"], json!([[1]]));
}

#[test]
fn connection_that_is_lost_fails_its_statement_alone() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres")
        + "?pool_max_conns=1&statement_timeout=60000&application_name=losing";
    let ask = |statement: &str| ask(&host, "", &url, statement, &[]);
    let own = "from pg_stat_activity where application_name = 'losing'";
    let (lost, next) = std::thread::scope(|scope| {
        let running = scope.spawn(|| ask("select pg_sleep(50)"));
        let pid = format!("select pid {own} and query like '%pg_sleep%' and state = 'active'");
        let pid = eventually("the statement runs", || {
            Some(server.ask(&pid)).filter(|pid| !pid.is_empty())
        });
        server.ask(&format!("select pg_terminate_backend({pid})"));
        (running.join().expect("an answer"), ask("select 1"))
    });
    refused(&lost, "unavailable");
    assert!(
        message(&lost).contains("terminating connection"),
        "{}",
        lost.body
    );
    assert_eq!(next.json()["rows"], json!([[1]]));
    // One that ends while nobody uses it is noticed before the next statement.
    server.ask(&format!("select pg_terminate_backend(pid) {own}"));
    eventually("it has ended", || {
        (server.ask(&format!("select count(*) {own}")) == "0").then_some(())
    });
    eventually("the pool connects again", || {
        (ask("select 1").status == 200).then_some(())
    });
}

#[test]
fn server_that_falls_silent_is_given_up() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres")
        + "?pool_max_conns=1&statement_timeout=200&connect_timeout=1&application_name=silent";
    let ask = |statement: &str| ask(&host, "", &url, statement, &[]);
    let pid = ask("select pg_backend_pid()").json()["rows"][0][0].to_string();
    let stopped = Stopped::process(&pid);
    let silent = ask("select 1");
    refused(&silent, "unavailable");
    assert!(
        message(&silent).contains("gave no answer within 5.2s"),
        "{}",
        silent.body
    );
    // Another connection takes its place.
    assert_eq!(ask("select 1").json()["rows"], json!([[1]]));
    drop(stopped);
    eventually("the silent one is gone from the server", || {
        let there = format!("select count(*) from pg_stat_activity where pid = {pid}");
        (server.ask(&there) == "0").then_some(())
    });
}

/// A process that does nothing until this is dropped.
struct Stopped(String);

impl Stopped {
    fn process(id: &str) -> Self {
        let stopped = Command::new("kill").args(["-STOP", id]).status();
        assert!(
            stopped.is_ok_and(|status| status.success()),
            "kill -STOP {id}"
        );
        Self(id.to_owned())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0]).status();
    }
}

#[test]
fn exhausted_pool_gives_a_clear_error() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres") + "?pool_max_conns=2";
    let sleep = "select 'exhausting', pg_sleep(8)";
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(ask(&host, "", &url, sleep, &[]).status, 200));
        }
        let running = "select count(*) from pg_stat_activity where state = 'active' and query like 'select ''exhausting%'";
        eventually("both connections are in use", || {
            (server.ask(running) == "2").then_some(())
        });
        let third = ask(&host, "", &url, "select 1", &[]);
        refused(&third, "unavailable");
        let says = "none of the pool's 2 connections to db.example.com:5432 became free within 5 s";
        assert!(message(&third).contains(says), "{}", third.body);
    });
    assert_eq!(ask(&host, "", &url, "select 1", &[]).status, 200);
}

#[test]
fn server_that_nothing_declares_is_not_reached() {
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
    // A workload of the mesh is none.
    let own = server.url("postgres").replace(POSTGRESQL_HOST, "sql:80");
    refused(&ask(&host, "", &own, "select 1", &[]), "access-denied");
}

#[test]
fn tls_is_what_sslmode_asks_for() {
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
    // No public authority vouches for it, and the guest has no other file.
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

/// The shop's manifests with their databases on `server`, and a run of the job.
fn shop_on(server: &Postgresql, folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    for entry in std::fs::read_dir(source).expect("the shop") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a manifest");
        let text = text
            .replace("sqlite:/data/products.db", &server.url("products"))
            .replace("sqlite:/data/reviews.db", &server.url("reviews"))
            .replace("periodSeconds: 5", "periodSeconds: 1");
        std::fs::write(folder.join(name), text).expect("a manifest");
    }
    let job = "---
apiVersion: batch/v1
kind: Job
metadata: {name: ratings-now, namespace: shoppingportal}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      containers:
        - name: ratings
          image: galleria/ratings:v1
          envFrom: [{secretRef: {name: shop-databases}}]
";
    let extra = server.service_entry("shoppingportal") + job;
    std::fs::write(folder.join("90-extra.yaml"), extra).expect("a manifest");
}

/// The names of the products that were stored.
fn store_until_it_fails(host: &Host) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let name = format!("product {}", names.len());
        let product = json!({"category": "6", "name": name, "description": "", "price": 1});
        if host.post("/productms/product/", &product).status != 201 {
            return names;
        }
        names.push(name);
    }
}

fn names(host: &Host) -> Vec<String> {
    let answer = host.get("/productms/product/catalogue").json();
    let products = answer["response"].as_array().expect("products").iter();
    let name = |product: &Value| product["name"].as_str().expect("a name").to_owned();
    products.map(name).collect()
}

#[test]
fn shop_on_postgresql_loses_nothing_when_the_server_is_killed() {
    let mut server = Postgresql::start();
    server.ask("create database products");
    server.ask("create database reviews");
    let folder = tempfile::tempdir().expect("a folder");
    shop_on(&server, folder.path());
    let begin = || {
        Galleria::run(folder.path())
            .components(shop_components())
            .start()
    };
    // Both find empty databases, and make the tables at the same time.
    let (host, other) = std::thread::scope(|scope| {
        let other = scope.spawn(begin);
        (begin(), other.join().expect("a host"))
    });
    let ready = |host: &Host| {
        let is_ready = |workload| host.metric("galleria_pod_ready", &[workload]) == 1.0;
        is_ready("workload=\"productms-v1\"") && is_ready("workload=\"productreviewms-v1\"")
    };
    for host in [&host, &other] {
        eventually("the shop is ready", || ready(host).then_some(()));
    }
    assert_eq!(names(&host).len(), 12);

    // What one host stores, the other has.
    let lamp = json!({"category": "6", "name": "Café lamp", "description": "", "price": 0.29});
    let stored = host.post("/productms/product/", &lamp);
    assert_eq!(stored.status, 201, "{}", stored.body);
    assert_eq!(stored.json()["response"]["productId"], 13);
    let review = json!({"author": "Asha", "desc": "Warm.", "rating": 9});
    assert_eq!(
        other
            .post("/productreviewms/productreview/13", &review)
            .status,
        201
    );
    let page = host.get("/productms/product/catalogue/13").json();
    assert_eq!(page["response"]["reviews"][0]["author"], "Asha");
    let search = other.get_with(
        "/productms/product/catalogue?search=CAF&sort=-name",
        &[("end-user", "metamagic")],
    );
    assert!(
        search.body.contains("Café lamp") && search.body.contains("0.29"),
        "{}",
        search.body
    );
    eventually("the job has computed the ratings", || {
        let answer = host.get("/productreviewms/productreview/ratings").json();
        (!answer["ratings"].as_array()?.is_empty()).then_some(())
    });

    // Somebody stores products until the server is killed under them.
    let acknowledged = std::thread::scope(|scope| {
        let storing = scope.spawn(|| store_until_it_fails(&other));
        eventually("some are stored", || {
            (names(&host).len() > 16).then_some(())
        });
        server.kill();
        storing.join().expect("names")
    });
    let failed = eventually("requests fail clearly", || {
        let answer = host.get("/productms/product/catalogue");
        (answer.status == 503).then_some(answer)
    });
    assert!(!Postgresql::is_betrayed_by(&failed.body), "{}", failed.body);
    eventually("readiness follows", || {
        let gone =
            |host: &Host| host.metric("galleria_pod_ready", &["workload=\"productms-v1\""]) == 0.0;
        (gone(&host) && gone(&other)).then_some(())
    });

    server.revive();
    for host in [&host, &other] {
        eventually("the shop is ready again", || ready(host).then_some(()));
        let found = names(host);
        for name in acknowledged.iter().chain(["Café lamp".to_owned()].iter()) {
            assert!(found.contains(name), "{name} was lost");
        }
    }
    assert_eq!(host.post("/productms/product/", &lamp).status, 201);
    for host in [&host, &other] {
        let logs = host.stdout() + &host.stderr() + &host.status("/metrics").body;
        assert!(
            !Postgresql::is_betrayed_by(&logs),
            "a log shows the password"
        );
        assert_eq!(
            host.metric("galleria_pod_restarts", &["workload=\"productms-v1\""]),
            0.0
        );
    }
}
