//! Many statements of one pod at once, next to another pod.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galleria_mesh::Workload;
use tokio::task::JoinSet;

use super::file::{AmongWorkloads, File, Tenant};
use super::{Caller, Database, Error, Stopping, Value};
use crate::guest::sql::access;
use crate::guest::{DiskFloor, VolumeQuota};

/// A pod with one database.
struct Pod {
    folder: tempfile::TempDir,
    database: Database,
}

impl Pod {
    async fn start() -> Self {
        Self::start_with(|_| None).await
    }

    async fn start_with(quota: impl FnOnce(&Path) -> Option<Arc<VolumeQuota>>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("volume")).expect("a volume");
        let quota = quota(folder.path());
        let database = open(folder.path(), quota, AmongWorkloads::default()).await;
        let table = "create table t (a integer, b blob)".to_owned();
        database.execute_script(table).await.expect("a table");
        Self { folder, database }
    }

    /// The database, as another workload with the same volume uses it.
    async fn of_another_workload(&self) -> Database {
        let among_workloads = self.database.file.among_workloads();
        open(self.folder.path(), None, among_workloads).await
    }

    async fn write(&self, number: i64) -> Result<u64, Error> {
        let statement = "insert into t (a) values ($1)".to_owned();
        let parameters = vec![Value::Integer(number)];
        self.database.execute(statement, parameters).await
    }

    async fn count(&self) -> Result<usize, Error> {
        let statement = "select count(*) from t".to_owned();
        let found = self.database.query(statement, Vec::new()).await?;
        match found.rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(count)) => Ok(usize::try_from(*count).expect("a count")),
            other => unreachable!("{other:?}"),
        }
    }
}

async fn open(
    folder: &Path,
    quota: Option<Arc<VolumeQuota>>,
    among_workloads: AmongWorkloads,
) -> Database {
    let volume = std::fs::File::open(folder.join("volume")).expect("a folder");
    let place = access::File {
        path: folder.join("databases/shop.db"),
        in_volume: access::InVolume {
            folder: Arc::new(volume.into()),
            below: "shop.db".into(),
        },
        read_only: false,
        quota,
        mounted_at: "/data".into(),
    };
    let workload = Workload::new("shop", "ui", "default", Default::default());
    let caller = Caller::without_limits();
    let tenant = Tenant::new(&caller);
    let stopping = Stopping::default();
    let file = File::new(place, Arc::new(workload), tenant, among_workloads, stopping);
    file.check().await.expect("an open file");
    Database::new(file, caller)
}

/// Runs `each` that many times at once, and returns how many succeeded and the errors of the
/// others. Meanwhile another pod writes and reads, and is never slow.
async fn at_once<T: Send + 'static, F>(count: i64, each: impl Fn(i64) -> F) -> (usize, Vec<Error>)
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let neighbour = tokio::spawn(async move {
        let pod = Pod::start().await;
        let mut written = 0;
        while !is_done.load(Ordering::Relaxed) || written == 0 {
            let began = Instant::now();
            pod.write(0).await.expect("a row");
            written += 1;
            assert_eq!(pod.count().await.expect("a count"), written);
            let took = began.elapsed();
            // A generous limit: other tests run at the same time on two cores.
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
    });
    let mut running = JoinSet::new();
    for number in 0..count {
        running.spawn(each(number));
    }
    let (mut succeeded, mut errors) = (0, Vec::new());
    while let Some(joined) = running.join_next().await {
        match joined.expect("no panic") {
            Ok(_) => succeeded += 1,
            Err(error) => errors.push(error),
        }
    }
    done.store(true, Ordering::Relaxed);
    neighbour.await.expect("the neighbour is served");
    (succeeded, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_writes_at_once_are_answered_and_none_is_lost() {
    let pod = Arc::new(Pod::start().await);
    let (written, errors) = at_once(10_000, |number| {
        let pod = pod.clone();
        async move { pod.write(number).await }
    })
    .await;
    assert_eq!(written + errors.len(), 10_000);
    for error in &errors {
        assert!(matches!(error, Error::Busy(_)), "{error:?}");
    }
    assert!(written >= 1_000, "{written}");
    assert_eq!(pod.count().await.expect("a count"), written);
    pod.write(0).await.expect("a row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_reads_at_once_are_answered() {
    let pod = Arc::new(Pod::start().await);
    let (read, errors) = at_once(10_000, |_| {
        let pod = pod.clone();
        async move { pod.count().await }
    })
    .await;
    assert_eq!(read + errors.len(), 10_000);
    for error in &errors {
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    assert!(read >= 100, "{read}");
    assert_eq!(pod.count().await.expect("a count"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_find_the_volume_full_fail_and_the_others_are_kept() {
    let pod = Pod::start_with(|folder| {
        let floor = Arc::new(DiskFloor::of(folder));
        Some(VolumeQuota::new(folder, 2 << 20, &floor, None))
    });
    let pod = Arc::new(pod.await);
    let (written, errors) = at_once(200, |_| {
        let pod = pod.clone();
        async move {
            let statement = "insert into t (b) values (zeroblob(50000))".to_owned();
            pod.database.execute(statement, Vec::new()).await
        }
    })
    .await;
    assert!(written > 10, "{written}");
    assert!(errors.len() > 10, "{}", errors.len());
    for error in &errors {
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    assert_eq!(pod.count().await.expect("a count"), written);
    let size = std::fs::metadata(pod.folder.path().join("databases/shop.db"));
    assert!(size.expect("a file").len() <= 2 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_continue_after_a_transaction_that_they_had_to_wait_for() {
    let pod = Arc::new(Pod::start().await);
    let mut transaction = pod.database.begin().await.expect("a transaction");
    let mut waiting = JoinSet::new();
    for number in 0..100 {
        let pod = pod.clone();
        waiting.spawn(async move { pod.write(number).await });
    }
    let abandoned = tokio::spawn({
        let pod = pod.clone();
        async move { pod.write(0).await }
    });
    while pod.database.file.queued() < 101 {
        tokio::task::yield_now().await;
    }
    abandoned.abort();
    assert!(abandoned.await.is_err(), "nothing was executed before");
    let insert = "insert into t (a) values (1)".to_owned();
    let written = transaction.execute(insert, Vec::new()).await;
    assert!(matches!(written, Ok(1)));
    transaction.commit().await.expect("a commit");
    while let Some(written) = waiting.join_next().await {
        written.expect("no panic").expect("a row");
    }
    let count = pod.count().await.expect("a count");
    assert_eq!(count, 101, "the abandoned write was not executed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_gets_its_turn_between_writes() {
    let pod = Arc::new(Pod::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for number in 0..32 {
        let (pod, stop) = (pod.clone(), stop.clone());
        writers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                pod.write(number).await.expect("a row");
            }
        });
    }
    for _ in 0..20 {
        let transaction = pod.database.begin().await.expect("a transaction");
        transaction.rollback().await.expect("a rollback");
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.expect("no failure");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_that_share_a_file_take_turns() {
    let pod = Pod::start().await;
    let other = pod.of_another_workload().await;
    let mut writers = JoinSet::new();
    for database in [&pod.database, &other] {
        for _ in 0..16 {
            let database = database.clone();
            writers.spawn(async move {
                for _ in 0..10 {
                    let statement = "insert into t (a) values (1)".to_owned();
                    let written = database.execute(statement, Vec::new()).await;
                    written.expect("a row");
                }
            });
        }
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("no failure");
    }
    assert_eq!(pod.count().await.expect("a count"), 320);

    let transaction = pod.database.begin().await.expect("a transaction");
    let statement = "insert into t (a) values (1)".to_owned();
    let mut waiting = Box::pin(other.execute(statement, Vec::new()));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "it waits for the transaction");
    transaction.rollback().await.expect("a rollback");
    waiting.await.expect("a row");
}
