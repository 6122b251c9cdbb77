//! What a request costs does not rise unnoticed: allocations and context switches.
//!
//! They are counted in a process that runs nothing else, with one thread for the tasks of the
//! host and its clients. So the numbers are nearly the same in each run and on each machine,
//! but they apply only to the profile in which the tests run.

mod allocator;
mod connection;
mod recorded;
mod switches;

use std::env;
use std::ops::Sub;
use std::process::Command;

use futures::future::join_all;

use allocator::allocated;
use connection::Connection;
use recorded::{Cost, assert_as_recorded};
use switches::switched;

use super::testing::{Host, Service, manifests};

/// Set in the process that does nothing else.
const ALONE: &str = "GALLERIA_TEST_ALONE";

/// A host that was interrupted for long passes statements to other threads for a while, which
/// costs more. A new process has not been interrupted.
const ATTEMPTS: u32 = 3;

/// Requests before the first measurement: they fill caches, and make statements known.
const WARM_UP: u32 = 50;

/// The cost is that of the cheapest round: in others, the host may do something else too.
const ROUNDS: u32 = 60;
const REQUESTS: u32 = 8;

/// Outgoing calls in one request, of which one is not counted.
const CALLS: u32 = 11;

/// Clients that request a page at the same time.
const CLIENTS: u32 = 32;

/// Context switches for each of their pages. On an idle machine there are none; on a busy one,
/// statements take longer and may move to another thread.
const SWITCHES_MAX: f64 = 3.0;

/// Reads two databases and calls another service.
const PAGE: &str = "/productms/product/catalogue/1";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is for the test, not for the host"
)]
fn costs_are_as_recorded() {
    if env::var_os(ALONE).is_some() {
        return assert_as_recorded(&measure());
    }
    let module = module_path!().trim_start_matches("galleria::");
    let test = format!("{module}::costs_are_as_recorded");
    let mut outputs = String::new();
    for _ in 0..ATTEMPTS {
        let program = env::current_exe().expect("this program");
        let alone = Command::new(program)
            .args(["--exact", &test, "--nocapture"])
            .envs([(ALONE, "1"), ("RUST_BACKTRACE", "0")])
            .output()
            .expect("this program");
        for output in [&alone.stdout, &alone.stderr] {
            outputs.push_str(&String::from_utf8_lossy(output));
        }
        if alone.status.success() && outputs.contains("1 passed") {
            return;
        }
    }
    panic!("{outputs}");
}

/// Allocations per request.
#[derive(Debug, Clone, Copy)]
struct Allocations {
    count: f64,
    bytes: f64,
}

impl Sub for Allocations {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            count: self.count - other.count,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl Allocations {
    fn each(self, times: u32) -> Self {
        Self {
            count: self.count / f64::from(times),
            bytes: self.bytes / f64::from(times),
        }
    }

    fn named(self, name: &str) -> Vec<Cost> {
        vec![
            (format!("{name}.allocations"), self.count),
            (format!("{name}.bytes"), self.bytes),
        ]
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn measure() -> Vec<Cost> {
    let [hello, fresh, call] = requests().await;
    let statement = statement().await;
    let logged = hello_with_access_log().await;
    let (page, switches) = page().await;
    assert!(
        switches <= SWITCHES_MAX,
        "a product page costs {switches:.1} context switches; at most {SWITCHES_MAX} are expected"
    );
    [
        hello.named("hello"),
        fresh.named("fresh"),
        call.named("call"),
        statement.named("statement"),
        // Its bytes depend on how many lines are written together.
        vec![("log-line.allocations".to_owned(), (logged - hello).count)],
        page.named("page"),
    ]
    .concat()
}

fn reused(name: &'static str, image: &'static str) -> Service {
    Service::new(name, image).annotation("galleria.dev/isolation", "instance")
}

/// The cost of a request to a reused instance, of one to a new instance, and of a call
/// between two instances.
async fn requests() -> [Allocations; 3] {
    let services = [
        reused("hello", "hello"),
        Service::new("fresh", "hello"),
        reused("post", "post"),
    ];
    let host = Host::start_with(&manifests(&services), &["--access-log=off"]).await;
    let hello = cost(&host, "/hello/").await;
    let fresh = cost(&host, "/fresh/").await;
    let one = cost(&host, "/post/?url=http://hello/&times=1").await;
    let many = cost(&host, &format!("/post/?url=http://hello/&times={CALLS}")).await;
    host.stop().await;
    [hello, fresh, (many - one).each(CALLS - 1)]
}

/// The cost of a query that returns one row. The rest of the request, which opens the
/// database, is subtracted. The planner of SQLite would look at the parameter.
async fn statement() -> Allocations {
    let volume = "env: []
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]";
    let yaml = manifests(&[reused("sql", "sql")]).replace("env: []", volume);
    let host = Host::start_with(&yaml, &["--access-log=off"]).await;
    let table = "/sql/script?url=sqlite:/data/x-0&q=create+table+t+(id+integer+primary+key,name+text);insert+into+t+values+(1,'x')";
    let made = host.get(table).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let query = "/sql/?url=sqlite:/data/x-0&q=select+id+from+t+where+name=?&p=x";
    let query = cost(&host, query).await;
    let open = cost(&host, "/sql/open?url=sqlite:/data/x&count=1").await;
    host.stop().await;
    query - open
}

async fn hello_with_access_log() -> Allocations {
    let host = Host::start(&manifests(&[reused("hello", "hello")])).await;
    let hello = cost(&host, "/hello/").await;
    host.stop().await;
    hello
}

/// The allocations of a product page, and its context switches with many clients.
async fn page() -> (Allocations, f64) {
    let host = Host::start_shop(&["--access-log=off"]).await;
    let page = cost(&host, PAGE).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Connection::new(host.connect(80).await, PAGE));
    }
    // A task, so that clients and host share the thread: it waits only if the host hands work
    // to another thread.
    let switches = tokio::spawn(switches_per_page(clients)).await;
    host.stop().await;
    (page, switches.expect("responses"))
}

async fn switches_per_page(mut clients: Vec<Connection>) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = switched();
        join_all(clients.iter_mut().map(Connection::get)).await;
        let switches = switched() - before;
        least = least.min(switches as f64 / f64::from(CLIENTS));
    }
    least
}

/// The cost of one request.
async fn cost(host: &Host, path: &str) -> Allocations {
    let mut connection = Connection::new(host.connect(80).await, path);
    for _ in 0..WARM_UP {
        connection.get().await;
    }
    let mut least = Allocations {
        count: f64::INFINITY,
        bytes: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        let before = allocated();
        for _ in 0..REQUESTS {
            connection.get().await;
        }
        let after = allocated();
        let per_request = |total: u64| total as f64 / f64::from(REQUESTS);
        least.count = least.count.min(per_request(after.0 - before.0));
        least.bytes = least.bytes.min(per_request(after.1 - before.1));
    }
    least
}
