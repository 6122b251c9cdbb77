//! The native driver on files in a temporary folder.

use tempfile::TempDir;

use super::*;

const MIGRATIONS: &[Migration] = &[
    Migration {
        statements: &[
            "CREATE TABLE thing (id {identity}, name TEXT UNIQUE, size REAL, data BLOB)",
            "INSERT INTO thing (name, size, data) VALUES ('one', 1.5, x'00ff')",
        ],
    },
    Migration {
        statements: &["INSERT INTO thing (name) VALUES ('two')"],
    },
];

fn url(folder: &TempDir) -> String {
    format!(" sqlite:{}\n", folder.path().join("things.db").display())
}

async fn count(database: &Database) -> i64 {
    let rows = database
        .query("SELECT COUNT(*) FROM thing", &[])
        .await
        .unwrap();
    RowReader::new(rows.rows[0].clone()).integer().unwrap()
}

#[tokio::test]
async fn values_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&url(&folder)).await.unwrap();
    let values = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Real(0.5),
        Value::Text("käse '; --".to_owned()),
        Value::Blob(vec![0, 255]),
    ];
    let rows = database
        .query("SELECT $1 AS a, $2, $3, $4, $5", &values)
        .await
        .unwrap();
    assert_eq!(rows.rows, [values.to_vec()]);
    assert_eq!(rows.columns[0], "a");
}

#[tokio::test]
async fn only_new_migrations_run() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_migrated(&url(&folder), &MIGRATIONS[..1])
        .await
        .unwrap();
    assert_eq!(count(&database).await, 1);
    for _ in 0..2 {
        let database = open_migrated(&url(&folder), MIGRATIONS).await.unwrap();
        assert_eq!(count(&database).await, 2);
    }
}

#[tokio::test]
async fn concurrent_instances_migrate_once() {
    let folder = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let url = url(&folder);
            tokio::spawn(async move { open_migrated(&url, MIGRATIONS).await })
        })
        .collect();
    for task in tasks {
        let database = task.await.unwrap().unwrap();
        assert_eq!(count(&database).await, 2);
    }
}

#[tokio::test]
async fn uncommitted_transaction_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_migrated(&url(&folder), MIGRATIONS).await.unwrap();
    let mut transaction = database.transaction().await.unwrap();
    transaction.execute("DELETE FROM thing", &[]).await.unwrap();
    drop(transaction);
    assert_eq!(count(&database).await, 2);

    let mut transaction = database.transaction().await.unwrap();
    let changed = transaction
        .execute("DELETE FROM thing WHERE name = $1", &["one".into()])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((changed, count(&database).await), (1, 1));
}

#[tokio::test]
async fn script_is_atomic() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_migrated(&url(&folder), MIGRATIONS).await.unwrap();
    let script = "DELETE FROM thing; INSERT INTO thing (name) VALUES ('three'); SELECT nonsense;";
    assert!(database.execute_script(script).await.is_err());
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn errors_distinguish_their_causes() {
    let folder = tempfile::tempdir().unwrap();
    let database = open_migrated(&url(&folder), MIGRATIONS).await.unwrap();
    let refused = database.query("SELEC 1", &[]).await;
    assert!(
        matches!(refused, Err(DatabaseError::InvalidStatement(_))),
        "{refused:?}"
    );
    let twice = database
        .execute("INSERT INTO thing (name) VALUES ('one')", &[])
        .await;
    assert!(
        matches!(twice, Err(DatabaseError::ConstraintViolated(_))),
        "{twice:?}"
    );
    let nowhere = Database::open("sqlite:/no/such/folder/things.db").await;
    assert!(
        matches!(nowhere, Err(DatabaseError::Unavailable(_))),
        "{nowhere:?}"
    );
    let foreign = Database::open("mongodb://host/db").await;
    assert!(
        matches!(foreign, Err(DatabaseError::InvalidUrl(_))),
        "{foreign:?}"
    );
}

#[test]
fn row_is_read_with_the_expected_types() {
    let mut row = RowReader::new(vec![Value::Integer(1), Value::Integer(2)]);
    assert_eq!(row.integer().unwrap(), 1);
    let error = row.text().unwrap_err().to_string();
    assert_eq!(error, "column 2 of the answer is not a text");
    assert!(row.integer().is_err());
}
