//! Statements that do not end, exhausted pools, and lost connections and servers.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::{ask, message, refused, server, start, start_with};
use crate::support::eventually;

#[test]
fn endless_statement_is_cancelled() {
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
    // A guest that is ended at its own deadline leaves no statement running either.
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
fn lost_connection_fails_only_its_statement() {
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
    // A connection that is lost while idle is detected before the next statement.
    server.ask(&format!("select pg_terminate_backend(pid) {own}"));
    eventually("it has ended", || {
        (server.ask(&format!("select count(*) {own}")) == "0").then_some(())
    });
    eventually("the pool connects again", || {
        (ask("select 1").status == 200).then_some(())
    });
}

#[test]
fn connection_to_a_silent_server_is_dropped() {
    let server = server();
    let host = start(&server);
    let url = server.url("postgres")
        + "?pool_max_conns=1&statement_timeout=200&connect_timeout=1&application_name=silent";
    let ask = |statement: &str| ask(&host, "", &url, statement, &[]);
    let pid = ask("select pg_backend_pid()").json()["rows"][0][0].to_string();
    let stopped = StoppedProcess::process(&pid);
    let silent = ask("select 1");
    refused(&silent, "unavailable");
    assert!(
        message(&silent).contains("did not respond within 5.2s"),
        "{}",
        silent.body
    );
    // A new connection replaces it.
    assert_eq!(ask("select 1").json()["rows"], json!([[1]]));
    drop(stopped);
    eventually("the silent one is gone from the server", || {
        let there = format!("select count(*) from pg_stat_activity where pid = {pid}");
        (server.ask(&there) == "0").then_some(())
    });
}

/// A process that is stopped (SIGSTOP) until this is dropped.
struct StoppedProcess(String);

impl StoppedProcess {
    fn process(id: &str) -> Self {
        let stopped = Command::new("kill").args(["-STOP", id]).status();
        assert!(
            stopped.is_ok_and(|status| status.success()),
            "kill -STOP {id}"
        );
        Self(id.to_owned())
    }
}

impl Drop for StoppedProcess {
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
