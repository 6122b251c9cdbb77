//! The rooms of the host, as `docs/ARCHITECTURE.md` lists them: a room imports only
//! rooms above it in that table, so there are no circles.
//!
//! The test fails when the table is not what the code says; with `UPDATE_DOCS=1` it
//! writes the column of imports. The order and the purposes are for people to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const HEADING: &str = "## Rooms\n";
const HEADER: &str = "| room | purpose | imports |\n| --- | --- | --- |\n";

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct Room {
    name: String,
    purpose: String,
    imports: BTreeSet<String>,
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is for the developer, not for the host"
)]
fn rooms_import_only_rooms_above_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("../docs/ARCHITECTURE.md");
    let document = fs::read_to_string(&file).expect("the document");
    let (before, table, after) = split(&document);
    let written = read_table(table);
    let found = imports(&root.join("src"));

    let names: BTreeSet<_> = written.iter().map(|room| room.name.clone()).collect();
    assert_eq!(
        names,
        found.keys().cloned().collect(),
        "the rooms of host/src are not those of docs/ARCHITECTURE.md: add or remove rows"
    );
    let mut above = BTreeSet::new();
    for room in &written {
        for import in &found[&room.name] {
            assert!(
                above.contains(import),
                "`{}` imports `{import}`, which stands below it in docs/ARCHITECTURE.md: \
                 turn the dependency around, or move the row",
                room.name
            );
        }
        above.insert(room.name.clone());
    }
    let now: Vec<_> = written
        .iter()
        .map(|room| Room {
            imports: found[&room.name].clone(),
            ..room.clone()
        })
        .collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}{}{after}", write_table(&now));
        fs::write(&file, text).expect("the document can be written");
    } else {
        assert_eq!(
            written, now,
            "docs/ARCHITECTURE.md is out of date: run `UPDATE_DOCS=1 cargo test -p galleria rooms`"
        );
    }
}

/// The document before, in and after the rows of the table.
fn split(document: &str) -> (&str, &str, &str) {
    let heading = document.find(HEADING).expect("a section `Rooms`");
    let header = document[heading..].find(HEADER).expect("its table") + heading;
    let start = header + HEADER.len();
    let length = document[start..].find("\n\n").expect("an end") + 1;
    let (before, rest) = document.split_at(start);
    let (table, after) = rest.split_at(length);
    (before, table, after)
}

fn read_table(table: &str) -> Vec<Room> {
    let rows = table.lines().map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let mut cell = || cells.next().expect("three columns");
        let (name, purpose, imports) = (cell(), cell(), cell());
        let imports = imports.split(", ").filter(|it| !it.is_empty());
        Room {
            name: name.trim_matches('`').to_owned(),
            purpose: purpose.to_owned(),
            imports: imports.map(|it| it.trim_matches('`').to_owned()).collect(),
        }
    });
    rows.collect()
}

fn write_table(rooms: &[Room]) -> String {
    let rows = rooms.iter().map(|room| {
        let imports: Vec<_> = room.imports.iter().map(|it| format!("`{it}`")).collect();
        let imports = imports.join(", ");
        format!("| `{}` | {} | {imports} |\n", room.name, room.purpose)
    });
    rows.collect()
}

/// The rooms of `src`, and which others each of them names.
fn imports(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    collect(src, &mut files);
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let room_of = |file: &Path| {
        let relative = file.strip_prefix(src).expect("a file below src");
        let first = relative.components().next().expect("a name");
        let first = first.as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    };
    let house = ["lib", "main", "architecture"];
    files.retain(|file| !house.contains(&room_of(file).as_str()));
    let names: BTreeSet<_> = files.iter().map(|file| room_of(file)).collect();
    for file in &files {
        let text = fs::read_to_string(file).expect("a source file");
        let room = room_of(file);
        let mut named = crate_paths(&text);
        named.retain(|name| names.contains(name) && *name != room);
        rooms.entry(room).or_default().append(&mut named);
    }
    rooms
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// The first segments of all paths of this crate, comments left out.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let comment = Regex::new(r"(?m)//.*$").expect("valid");
    let path = Regex::new(r"\bcrate::(\w+)").expect("valid");
    let group = Regex::new(r"\bcrate::\{([^;]*)\};").expect("valid");
    let text = comment.replace_all(text, "");
    let mut names: BTreeSet<_> = path
        .captures_iter(&text)
        .map(|it| it[1].to_owned())
        .collect();
    for group in group.captures_iter(&text) {
        let (mut depth, mut name) = (0_u32, String::new());
        for letter in group[1].chars().chain([',']) {
            match letter {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    let first = name.split("::").next().unwrap_or_default();
                    names.insert(first.trim().to_owned());
                    name.clear();
                }
                _ if depth == 0 => name.push(letter),
                _ => {}
            }
        }
    }
    names
}

#[test]
fn paths_of_the_crate_are_found_in_every_form() {
    let text = "
        use crate::call::Mesh; // crate::comment
        use crate::{Body, guest::{Failure, Guest}, listen};
        fn f() -> crate::workload::Pod {}
    ";
    let names = ["Body", "call", "guest", "listen", "workload"];
    assert_eq!(crate_paths(text), names.map(str::to_owned).into());
}
