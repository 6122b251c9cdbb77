//! Objects from JSON values are the same as objects from a file with the same text.

use std::path::Path;

use galleria_manifest::{Diagnostic, read_json, read_str, yaml_to_json};

use super::manifests_in;

const PLACE: &str = "api/object";

/// A diagnostic without its position.
fn message(diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        severity,
        object,
        path,
        message,
        code,
        ..
    } = diagnostic;
    format!("{severity} {object:?} {path} {message} {code}")
}

#[test]
fn json_value_reads_as_its_text() {
    let folders = ["tests/deck", "tests/malformed", "../../deploy/shop"];
    let mut compared = 0;
    for file in folders.into_iter().flat_map(manifests_in) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for document in text.split("\n---\n") {
            let Ok(value) = yaml_to_json(document) else {
                continue;
            };
            let text = value.to_string();
            let expected = read_str(Path::new(PLACE), &text);
            // These messages name a line, which a JSON value does not have.
            if expected
                .diagnostics
                .iter()
                .any(|it| it.message.contains("on line 1"))
            {
                continue;
            }
            let read = read_json(Path::new(PLACE), &value);
            let messages = |all: &[Diagnostic]| all.iter().map(message).collect::<Vec<_>>();
            let file = file.display();
            assert_eq!(
                messages(&read.diagnostics),
                messages(&expected.diagnostics),
                "{file}"
            );
            let objects = expected.objects.iter().map(|it| &it.raw);
            assert!(read.objects.iter().map(|it| &it.raw).eq(objects), "{file}");
            compared += 1;
        }
    }
    assert!(compared > 150, "only {compared} documents");
}

#[test]
fn diagnostics_of_a_json_value_name_the_field_and_no_line() {
    let value = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 0}, {"port": "80"}]},
    });
    let read = read_json(Path::new(PLACE), &value);
    let lines: Vec<_> = read.diagnostics.iter().map(ToString::to_string).collect();
    let errors: Vec<_> = lines.iter().filter(|it| it.contains("error")).collect();
    assert_eq!(
        errors,
        [
            "api/object: error: Service/s: spec.ports[0].port: 0 is out of range; must be 1 to \
             65535 [GAL0013]",
            "api/object: error: Service/s: spec.ports[1].port: expected an integer, found the \
             text `80`; write it without quotes [GAL0012]",
        ]
    );
}

#[test]
fn messages_that_name_a_line_of_a_file_name_an_index_of_a_json_value() {
    let container = serde_json::json!({
        "name": "c", "image": "c",
        "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
    });
    let value = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [container]},
    });
    let read = read_json(Path::new(PLACE), &value);
    let said = |text: &str| read.diagnostics.iter().any(|it| it.message == text);
    assert!(
        said("`A` is set by env[0] too; the last one wins"),
        "{:?}",
        read.diagnostics
    );
}
