//! No message contains a value of a Secret, even if the manifest is malformed.

use std::path::Path;

use galleria_manifest::model::Resource;
use galleria_manifest::{check_references, read_str};

/// The password, and its base64 form.
const NEEDLES: [&str; 2] = ["hunter2xyz", "aHVudGVyMnh5eg"];

const HEAD: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\n";

#[test]
fn no_value_of_a_secret_is_ever_printed() {
    let bodies = [
        "data:\n  password: aHVudGVyMnh5eg==\n",
        "data:\n  password: aHVudGVyMnh5eg\n",
        "data:\n  password: hunter2xyz!\n",
        "data: hunter2xyz\n",
        "data: [hunter2xyz]\n",
        "data:\n  password: {hunter2xyz}\n",
        "data:\n  password: {hunter2xyz, hunter2xyz}\n",
        "data:\n  password: [hunter2xyz\n",
        "data:\n  password: 'hunter2xyz\n",
        "data:\n  password: !hunter2xyz\n",
        "data:\n  password: *hunter2xyz\n",
        "data:\n  password: @hunter2xyz\n",
        "data:\n  password: a: hunter2xyz\n",
        "data:\n  password: |\n   hunter2xyz\n  hunter2xyz\n",
        "stringData:\n  password: hunter2xyz\n",
        "stringData:\n  password:\n    - hunter2xyz\n",
        "stringData:\n  password: a\n  password: hunter2xyz\n",
        "stringData:\n  \"pass word\": hunter2xyz\n",
        "type: kubernetes.io/tls\nstringData:\n  tls.crt: hunter2xyz\n",
        "password: hunter2xyz\n",
        "type:\n  - hunter2xyz\n",
        "immutable: hunter2xyz\nstringDat:\n  password: hunter2xyz\n",
    ];
    for body in bodies {
        shows_nothing(&format!("{HEAD}{body}"));
        let item: String = format!("{HEAD}{body}")
            .lines()
            .map(|l| format!("    {l}\n"))
            .collect();
        shows_nothing(&format!("apiVersion: v1\nkind: List\nitems:\n  -\n{item}"));
    }
    shows_nothing(
        r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"password\":\"hunter2xyz\"}"
        }}, "data": {"a": 5, "b": "aHVudGVyMnh5eg=="}}"#,
    );
}

fn shows_nothing(text: &str) {
    let mut loaded = read_str(Path::new("secret.yaml"), text);
    loaded
        .diagnostics
        .extend(check_references(&loaded.objects, None));
    let shown: String = loaded
        .diagnostics
        .iter()
        .map(|d| format!("{d}\n{d:?}\n"))
        .collect();
    let shown = format!("{shown}{loaded:?}{loaded:#?}");
    for needle in NEEDLES {
        assert!(
            !shown.contains(needle),
            "{needle} of\n{text}\nis shown in\n{shown}"
        );
    }
}

#[test]
fn values_are_decoded_and_text_wins() {
    let text = format!("{HEAD}data:\n  a: cm9vdA==\n  b: cm9vdAo=\nstringData:\n  a: plain\n");
    let loaded = read_str(Path::new("secret.yaml"), &text);
    let Resource::Secret(secret) = &loaded.objects[0].resource else {
        panic!("a Secret")
    };
    assert_eq!(secret.data["a"].expose(), b"plain");
    // The newline that `echo | base64` leaves is part of the value.
    assert_eq!(secret.data["b"].expose(), b"root\n");
}
