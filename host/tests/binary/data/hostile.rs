//! Guests that send malicious statements, next to a guest that uses its own database at
//! the same time.

mod disk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ask, encode, refused};
use crate::support::{Answer, Galleria, Host, Service, SetOnDrop, eventually, manifests};

const OWN: &str = "sqlite:/data/own.db";

const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

/// Runs the guest `sql` as `sql` and as `good`, each with its own claim.
fn start_with_neighbour(timeout: &str, memory: &'static str) -> Host {
    start_with_neighbour_and(timeout, memory, |host| host)
}

fn start_with_neighbour_and(
    timeout: &str,
    memory: &'static str,
    configure: impl FnOnce(Galleria) -> Galleria,
) -> Host {
    let volume = |name: &str| {
        format!(
            "env: []
          volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: {name}}}}}]"
        )
    };
    let claim = |name: &str| {
        format!(
            "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: test}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
        )
    };
    let service = |name| {
        let service = Service::new(name, "sql").memory(memory);
        service.annotation("galleria.dev/isolation", "instance")
    };
    let text = manifests(&[service("sql"), service("good")]);
    let [before, between, after] = *text.split("env: []").collect::<Vec<_>>() else {
        panic!("no two containers: {text}");
    };
    let (bad, good_one) = (volume("bad"), volume("good"));
    let claims = claim("bad") + &claim("good");
    let text = format!("{before}{bad}{between}{good_one}{after}\n{claims}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, text).expect("a file");
    let host = Galleria::run(file).argument(&format!("--request-timeout={timeout}"));
    let host = configure(host).start();
    let made = good(&host, "script", "create table t (a integer)");
    assert_eq!(made.status, 200, "{}", made.body);
    host
}

fn good(host: &Host, path: &str, statement: &str) -> Answer {
    let (url, statement) = (encode(OWN), encode(statement));
    host.get(&format!("/good/{path}?url={url}&q={statement}"))
}

/// The neighbour writes and reads while `misbehave` runs; none of its statements fails.
#[track_caller]
fn while_neighbour_is_served(host: &Host, misbehave: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let (asked, slowest) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let (mut asked, mut slowest) = (0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) || asked == 0 {
                let began = Instant::now();
                let written = good(host, "execute", "insert into t values (1)");
                assert_eq!(written.status, 200, "{}", written.body);
                let read = good(host, "", "select count(*) from t");
                assert_eq!(read.status, 200, "{}", read.body);
                asked += 1;
                assert_eq!(
                    read.json()["rows"][0][0],
                    asked,
                    "acknowledged rows are present"
                );
                slowest = slowest.max(began.elapsed());
            }
            (asked, slowest)
        });
        let ending = SetOnDrop(&done);
        misbehave();
        drop(ending);
        neighbour.join().expect("no failure")
    });
    assert!(asked > 0);
    // A generous limit: other tests run at the same time on two cores.
    assert!(
        slowest < Duration::from_secs(5),
        "the slowest request took {slowest:?}"
    );
    good(host, "execute", "delete from t");
}

fn all_at_once(host: &Host, count: usize, each: impl Fn(&Host) + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| each(host));
        }
    });
}

#[test]
fn endless_statement_ends_with_its_request() {
    let host = start_with_neighbour("2s", "256Mi");
    for (count, path) in [(8, ""), (32, ""), (8, "execute")] {
        let statement = match path {
            "execute" => {
                "insert into x with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0"
            }
            _ => ENDLESS,
        };
        ask(
            &host,
            "script",
            OWN,
            "create table if not exists x (a)",
            &[],
        );
        while_neighbour_is_served(&host, || {
            all_at_once(&host, count, |host| {
                let answer = ask(host, path, OWN, statement, &[]);
                assert!(matches!(answer.status, 500 | 503 | 504), "{}", answer.body);
            });
        });
    }
    let used = || host.metric("galleria_cpu_seconds_total", &["workload=\"sql\""]);
    assert!(used() > 0.5, "its statements are counted: {}", used());
    eventually("the cores are free again", || {
        let before = used();
        std::thread::sleep(Duration::from_millis(200));
        (used() - before < 0.02).then_some(())
    });
    let answer = ask(&host, "", OWN, "select count(*) from x", &[]);
    assert_eq!(answer.json()["rows"][0][0], 0, "{}", answer.body);
    let written = ask(&host, "execute", OWN, "insert into x values (1)", &[]);
    assert_eq!(written.status, 200, "{}", written.body);
}

#[test]
fn statement_that_becomes_slow_returns_the_right_result_and_does_not_block_the_neighbour() {
    let host = start_with_neighbour("60s", "256Mi");
    let counts = "with recursive n(i) as (select 1 union all select i + 1 from n where i < cast($1 as integer)) \
                  select count(*) from n";
    let compares = "with v(n) as (select cast($1 as integer)) \
                    select instr(hex(zeroblob(n)), hex(zeroblob(n / 2)) || 'x') from v";
    while_neighbour_is_served(&host, || {
        for round in 0..3 {
            for (statement, long, answer) in [(counts, 300_000, 300_000), (compares, 30_000, 0)] {
                for _ in 0..10 {
                    let short = ask(&host, "", OWN, statement, &["1"]);
                    assert_eq!(short.status, 200, "{}", short.body);
                }
                let parameter = format!("{long}");
                let long = ask(&host, "", OWN, statement, &[&parameter]);
                let found = &long.json()["rows"][0][0];
                assert_eq!(*found, answer, "{round}: {}", long.body);
            }
        }
    });
}

#[test]
fn host_stops_in_time_while_statements_run() {
    let mut host = start_with_neighbour("60s", "256Mi");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let (url, statement) = (encode(OWN), encode(ENDLESS));
                // The request ends soon, with whatever response.
                let _ = host.try_get(&format!("/sql/?url={url}&q={statement}"), &[]);
            });
        }
        eventually("statements run", || {
            let busy = ["workload=\"sql\"", "state=\"busy\""];
            (host.metric("galleria_sql_connections", &busy) >= 3.0).then_some(())
        });
        let began = Instant::now();
        host.terminate();
        eventually("the host has exited", || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", host.id()));
            let is_gone = state.is_ok_and(|state| state.contains(") Z "));
            is_gone.then_some(())
        });
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    assert!(host.wait().success());
}

/// `VmHWM`, the peak memory of the host, in bytes.
fn peak(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a size") << 10
}

#[test]
fn statements_that_need_too_much_memory_fail() {
    let host = start_with_neighbour("10s", "64Mi");
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000)";
    let before = peak(&host);
    while_neighbour_is_served(&host, || {
        for statement in [
            "select zeroblob(900000000)".to_owned(),
            "select randomblob(900000000)".into(),
            "select printf('%*d', 900000000, 1)".into(),
            "select hex(zeroblob(2000000))".into(),
            "select replace(hex(zeroblob(500000)), '0', 'xxxxxxxx')".into(),
            format!("{many} select randomblob(100000) from n order by 1"),
            format!("{many} select group_concat(hex(randomblob(1000))) from n"),
            format!("select {}", vec!["randomblob(2000000)"; 400].join(", ")),
            format!(
                "select concat_ws(replace(hex(zeroblob(9000)), '0', 'x'){})",
                ", 'a'".repeat(100)
            ),
        ] {
            let answer = ask(&host, "", OWN, &statement, &[]);
            assert!(
                answer.status == 500 || answer.body.len() < 9 << 20,
                "{statement:.60}"
            );
        }
        let trim =
            "select trim(hex(zeroblob(900000)), replace(hex(zeroblob(30000)), '0', 'é') || '0')";
        let began = Instant::now();
        ask(&host, "", OWN, trim, &[]);
        // SQLite's own function takes minutes. The build is not optimised, and other
        // tests run at the same time.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
    let grown = peak(&host) - before;
    assert!(grown < 160 << 20, "the host grew by {grown} bytes");
    assert_eq!(ask(&host, "", OWN, "select 1", &[]).status, 200);
}

#[test]
fn statements_outside_the_allow_list_are_refused() {
    let host = start_with_neighbour("10s", "64Mi");
    while_neighbour_is_served(&host, || {
        for statement in [
            "pragma mmap_size = 1000000000",
            "pragma hard_heap_limit = 1",
            "pragma soft_heap_limit = 1",
            "pragma temp_store_directory = '/tmp'",
            "pragma writable_schema = on",
            "pragma journal_mode = off",
            "pragma synchronous = off",
            "attach '/data/other.db' as x",
            "vacuum into '/data/copy.db'",
            "create temp table x (a)",
            "select load_extension('/data/x.so')",
        ] {
            for path in ["", "execute", "script"] {
                refused(&ask(&host, path, OWN, statement, &[]), "access-denied");
            }
        }
        refused(
            &ask(&host, "execute", OWN, "begin", &[]),
            "invalid-statement",
        );
        let huge = "select 1;".repeat(500);
        refused(&ask(&host, "", OWN, &huge, &[]), "invalid-statement");
    });
}

#[test]
fn guest_that_opens_many_files_affects_no_other_guest() {
    let host = start_with_neighbour("60s", "256Mi");
    let of_process = |what: &str| {
        let folder = format!("/proc/{}/{what}", host.id());
        std::fs::read_dir(folder).expect("a folder").count()
    };
    let (descriptors, threads) = (of_process("fd"), of_process("task"));
    while_neighbour_is_served(&host, || {
        let many = host.get("/sql/open?url=sqlite:/data/many&count=20000");
        let answer = many.json();
        assert!(answer["open"].as_u64().expect("a number") <= 16, "{answer}");
        assert_eq!(answer["last"]["error"], "unavailable", "{answer}");
        let more = of_process("fd").saturating_sub(descriptors);
        assert!(more < 100, "{more} descriptors more");
        let more = of_process("task").saturating_sub(threads);
        assert!(more < 40, "{more} threads more");
    });
}

#[test]
fn transaction_that_is_left_open_is_rolled_back() {
    let host = start_with_neighbour("20s", "256Mi");
    let made = ask(&host, "script", OWN, "create table x (a)", &[]);
    assert_eq!(made.status, 200, "{}", made.body);
    let insert = "insert into x values (1)";
    let trapped = ask(&host, "trap", OWN, insert, &[]);
    assert_eq!(trapped.status, 503, "{}", trapped.body);
    let written = ask(&host, "execute", OWN, insert, &[]);
    assert_eq!(written.status, 200, "{}", written.body);
    assert_eq!(ask(&host, "hold", OWN, insert, &[]).status, 200);
    while_neighbour_is_served(&host, || {
        eventually("the transaction is rolled back", || {
            let written = ask(&host, "execute", OWN, insert, &[]);
            if written.status != 200 {
                refused(&written, "busy");
            }
            (written.status == 200).then_some(())
        });
    });
    let rows = ask(&host, "", OWN, "select count(*) from x", &[]).json();
    assert_eq!(rows["rows"][0][0], 2, "the uncommitted row is absent");
}

#[test]
fn acknowledged_writes_survive_repeated_kills_of_the_host() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let volume = "env: []
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: test}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    let service = Service::new("sql", "sql").annotation("galleria.dev/isolation", "instance");
    std::fs::write(&file, manifests(&[service]).replace("env: []", volume)).expect("a file");
    let mut acknowledged: Vec<String> = Vec::new();
    for life in 0..25 {
        let mut host = Galleria::run(&file).data(data.path()).start();
        let made = ask(
            &host,
            "script",
            OWN,
            "create table if not exists x (a text unique)",
            &[],
        );
        assert_eq!(made.status, 200, "{}", made.body);
        let killed = AtomicBool::new(false);
        let pid = host.id().to_string();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (host, killed) = (&host, &killed);
                    scope.spawn(move || {
                        let mut written = Vec::new();
                        while !killed.load(Ordering::Relaxed) {
                            let name = format!("{life}-{writer}-{}", written.len());
                            let insert = encode(&format!("insert into x values ('{name}')"));
                            let path = format!("/sql/execute?url={}&q={insert}", encode(OWN));
                            match host.try_get(&path, &[]) {
                                Ok(answer) if answer.status == 200 => written.push(name),
                                _ => break,
                            }
                        }
                        written
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(60 + 7 * life));
            let kill = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
            assert!(kill.is_ok_and(|status| status.success()));
            killed.store(true, Ordering::Relaxed);
            for writer in writers {
                acknowledged.extend(writer.join().expect("no panic"));
            }
        });
        host.wait();
    }
    let host = Galleria::run(&file).data(data.path()).start();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    for names in acknowledged.chunks(500) {
        let list = names
            .iter()
            .map(|name| format!("'{name}'"))
            .collect::<Vec<_>>();
        let count = format!("select count(*) from x where a in ({})", list.join(","));
        let found = ask(&host, "", OWN, &count, &[]).json();
        assert_eq!(found["rows"][0][0], Value::from(names.len()), "{found}");
    }
    let check = ask(&host, "", OWN, "pragma integrity_check", &[]).json();
    assert_eq!(check["rows"][0][0], "ok");
}
