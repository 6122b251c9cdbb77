//! `galleria:sql`: which databases a guest may open, and the results of its statements.

mod hostile;
mod placement;
mod postgresql;

use serde_json::{Value, json};

use crate::support::{Answer, Galleria, Host, Service, manifests};

/// The guest `sql` with a volume at /data.
fn start(read_only: bool) -> Host {
    let volume = format!(
        "env: []
          securityContext: {{readOnlyRootFilesystem: true}}
          volumeMounts: [{{name: data, mountPath: /data, readOnly: {read_only}}}]
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: test}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let service = Service::new("sql", "sql").annotation("galleria.dev/isolation", "instance");
    std::fs::write(&file, manifests(&[service]).replace("env: []", &volume)).expect("a file");
    Galleria::run(file).start()
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn ask(host: &Host, path: &str, url: &str, statement: &str, parameters: &[&str]) -> Answer {
    let parameters: String = parameters
        .iter()
        .map(|value| format!("&p={}", encode(value)))
        .collect();
    host.get(&format!(
        "/sql/{path}?url={}&q={}{parameters}",
        encode(url),
        encode(statement)
    ))
}

const SHOP: &str = "sqlite:/data/shop.db";

#[track_caller]
fn refused(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert_eq!(answer.json()["error"], error, "{}", answer.body);
}

#[test]
fn statements_keep_types_and_do_not_interpret_parameters() {
    let host = start(false);
    let made = ask(
        &host,
        "script",
        SHOP,
        "create table t (a text not null unique, b real, c blob, d integer)",
        &[],
    );
    assert_eq!(made.status, 200, "{}", made.body);
    let hostile = "Robert'); drop table t; --";
    let stored = ask(
        &host,
        "execute",
        SHOP,
        "insert into t values (?1, 1.5, x'00ff', 9007199254740993)",
        &[hostile],
    );
    assert_eq!(stored.json(), json!({"changed": 1}));
    let rows = ask(&host, "", SHOP, "select a, b, c, d, null as e from t", &[]).json();
    assert_eq!(rows["columns"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(
        rows["rows"],
        json!([[hostile, 1.5, {"blob": [0, 255]}, 9_007_199_254_740_993_i64, Value::Null]])
    );
    refused(
        &ask(
            &host,
            "execute",
            SHOP,
            "insert into t (a) values (?1)",
            &[hostile],
        ),
        "constraint-violated",
    );
    refused(
        &ask(&host, "", SHOP, "select nothing from nowhere", &[]),
        "invalid-statement",
    );
    refused(
        &ask(
            &host,
            "script",
            SHOP,
            "insert into t (a) values ('x'); this is no statement",
            &[],
        ),
        "invalid-statement",
    );
    let count = ask(&host, "", SHOP, "select count(*) from t", &[]).json();
    assert_eq!(
        count["rows"],
        json!([[1]]),
        "a failed script changes nothing"
    );
}

#[test]
fn databases_outside_the_mounted_volumes_cannot_be_opened() {
    let host = start(false);
    for url in [
        "sqlite:/etc/passwd",
        "sqlite:/data/../../../etc/passwd",
        "sqlite:/tmp/x.db",
        "postgres://ann@db/shop",
    ] {
        let answer = ask(&host, "", url, "select 1", &[]);
        assert_eq!(answer.status, 500, "{url}: {}", answer.body);
        let error = answer.json()["error"].clone();
        assert!(
            error == "access-denied" || error == "invalid-url",
            "{url}: {error}"
        );
    }
    refused(&ask(&host, "", "shop.db", "select 1", &[]), "invalid-url");
}

#[test]
fn no_statement_reaches_a_file_outside_the_volume() {
    let host = start(false);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("other.db");
    for statement in ["attach '{}' as other", "vacuum into '{}'"] {
        let statement = statement.replace("{}", &file.display().to_string());
        for path in ["", "execute", "script", "commit"] {
            // A transaction is committed regardless of its statement's result.
            let answer = ask(&host, path, SHOP, &statement, &[]);
            if path != "commit" {
                refused(&answer, "access-denied");
            }
            assert!(!file.exists(), "{path}: {statement}");
        }
    }
}

#[test]
fn read_only_volume_cannot_be_written() {
    let host = start(true);
    let folder = host.data.join("volumes/test/data");
    std::fs::write(folder.join("shop.db"), b"").expect("an empty database");
    assert_eq!(
        ask(&host, "", SHOP, "select 1", &[]).json()["rows"],
        json!([[1]])
    );
    refused(
        &ask(&host, "execute", SHOP, "create table t (a)", &[]),
        "access-denied",
    );
}

#[test]
fn too_large_result_is_refused_without_buffering_it() {
    let host = start(false);
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) select i from n";
    refused(&ask(&host, "", SHOP, many, &[]), "too-large");
    refused(
        &ask(&host, "", SHOP, "select zeroblob(9000000)", &[]),
        "too-large",
    );
}
