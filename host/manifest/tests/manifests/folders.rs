//! Which files are read, and in which order they count.

use std::fs;
use std::path::{Path, PathBuf};

use galleria_manifest::limits::FILE_BYTES_MAX;
use galleria_manifest::model::Resource;
use galleria_manifest::{LoadResult, load};

use super::{describe, render};

/// A folder of its own for one test, empty at first.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn write(folder: &Path, file: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}

fn names(loaded: &LoadResult) -> Vec<&str> {
    loaded
        .objects
        .iter()
        .map(|object| object.metadata.name.as_str())
        .collect()
}

#[test]
fn folders_are_read_recursively_in_the_order_of_paths() {
    let folder = folder("recursive");
    write(&folder, "b.yaml", config_map("b", "one"));
    write(&folder, "a/z.yml", config_map("z", "one"));
    write(
        &folder,
        "c.json",
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}"#,
    );
    write(&folder, "readme.md", "not a manifest");
    write(&folder, ".hidden.yaml", ": broken");
    write(&folder, ".git/x.yaml", ": broken");
    write(&folder, "kustomization.yaml", "resources: [b.yaml]");
    let loaded = load(&[folder]);
    assert_eq!(
        names(&loaded),
        ["z", "b", "c"],
        "{}",
        render(&loaded.diagnostics)
    );
    assert!(!loaded.has_errors());
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn a_file_named_twice_is_read_once() {
    let folder = folder("twice");
    write(&folder, "a.yaml", config_map("a", "one"));
    let loaded = load(&[folder.clone(), folder.join("a.yaml")]);
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
}

#[test]
fn the_later_object_replaces_the_earlier_one() {
    let folder = folder("replaced");
    write(&folder, "1.yaml", config_map("same", "first"));
    write(&folder, "2.yaml", config_map("same", "second"));
    write(&folder, "3.yaml", config_map("same", "third"));
    let loaded = load(&[folder]);
    assert_eq!(loaded.objects.len(), 1);
    let Resource::ConfigMap(map) = &loaded.objects[0].resource else {
        panic!("a ConfigMap")
    };
    assert_eq!(map.data["key"], "third");
    assert_eq!(loaded.diagnostics.len(), 2);
    assert!(
        loaded.diagnostics[0].message.ends_with("2.yaml:1:1"),
        "{}",
        render(&loaded.diagnostics)
    );
}

#[test]
fn unreadable_paths_are_reported() {
    let folder = folder("unreadable");
    write(
        &folder,
        "large.yaml",
        vec![b' '; FILE_BYTES_MAX as usize + 1],
    );
    write(&folder, "empty/nothing.txt", "");
    let paths = [
        folder.join("large.yaml"),
        folder.join("absent"),
        folder.join("empty"),
    ];
    let loaded = load(&paths);
    let text = render(&loaded.diagnostics);
    assert!(
        text.contains("absent:1:1: error: no such file or folder [GAL0001]"),
        "{text}"
    );
    assert!(
        text.contains("larger than 8 MiB; split the file [GAL0003]"),
        "{text}"
    );
    assert!(
        text.contains("empty:1:1: warning: no manifest in this folder"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_circle_of_links_ends() {
    let folder = folder("circle");
    write(&folder, "a.yaml", config_map("a", "one"));
    std::os::unix::fs::symlink(&folder, folder.join("again")).expect("a link");
    let loaded = load(&[folder]);
    assert_eq!(names(&loaded), ["a"]);
}

#[test]
fn byte_order_mark_line_ends_and_empty_documents_do_no_harm() {
    let folder = folder("odd");
    let text = format!(
        "\u{feff}---\r\n{}---\r\n# nothing\r\n---\r\n",
        config_map("a", "one").replace('\n', "\r\n")
    );
    write(&folder, "a.yaml", text);
    write(&folder, "b.yaml", "");
    let loaded = load(&[folder]);
    assert_eq!(describe(&loaded), "ConfigMap default/a: enforced\n");
    assert_eq!(loaded.objects[0].at.line, 2);
}
