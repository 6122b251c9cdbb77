//! What holds for any text at all: no panic, and every position in the file.

use std::fs;
use std::path::Path;

use galleria_manifest::{Diagnostic, check_references, load, read_str};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::manifests_in;

#[expect(
    clippy::disallowed_methods,
    reason = "the variable is for the developer, not for the host"
)]
/// A runner whose seed is printed; `GALLERIA_TEST_SEED` sets another.
fn runner(cases: u32) -> TestRunner {
    let seed = std::env::var("GALLERIA_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok())
        .unwrap_or(1);
    println!("GALLERIA_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("any-bytes.yaml");
    let result = runner(300).run(&vec(any::<u8>(), 0..300), |bytes| {
        fs::write(&file, &bytes).expect("a file");
        let loaded = load(std::slice::from_ref(&file));
        inside(&String::from_utf8_lossy(&bytes), &loaded.diagnostics)
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn any_yaml_like_text_is_read_without_a_panic() {
    let piece = prop_oneof![
        Just("\n"),
        Just("\n  "),
        Just("\n    "),
        Just(": "),
        Just("- "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(", "),
        Just("\""),
        Just("'"),
        Just("|\n "),
        Just("&a "),
        Just("*a"),
        Just("!!str "),
        Just("---\n"),
        Just("#"),
        Just("\t"),
        Just("<<"),
        Just("a"),
        Just("kind: List"),
        Just("items"),
        Just("apiVersion: v1\n"),
        Just("é"),
        Just("? "),
        Just("\\u"),
        Just("..."),
        Just("%YAML 1.2\n"),
        Just(">-\n  x"),
        Just("\r\n"),
        Just("0777"),
    ];
    let result = runner(1500).run(&vec(piece, 0..40), |pieces| {
        read_and_check(&pieces.concat())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// One change to a text, at places that are fractions of its length.
#[derive(Debug, Clone)]
enum Change {
    Delete(Index, usize),
    Insert(Index, &'static str),
    CopyLine(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let insertion = prop_oneof![
        Just(" "),
        Just("\n"),
        Just(":"),
        Just("-"),
        Just("\""),
        Just("{"),
        Just("]"),
        Just("~"),
        Just("-1"),
        Just("99999999999999999999"),
        Just("1e400"),
        Just("*"),
        Just("&x"),
        Just("é"),
        Just("\t"),
        Just("null"),
        Just("yes"),
        Just("(?"),
        Just("\u{1f600}"),
        Just("[[[[[["),
    ];
    prop_oneof![
        (any::<Index>(), 1..30_usize).prop_map(|(at, length)| Change::Delete(at, length)),
        (any::<Index>(), insertion).prop_map(|(at, text)| Change::Insert(at, text)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::CopyLine(from, to)),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    match change {
        Change::Delete(at, length) if !characters.is_empty() => {
            let start = at.index(characters.len());
            let end = (start + length).min(characters.len());
            characters.drain(start..end);
        }
        Change::Insert(at, inserted) => {
            let start = at.index(characters.len() + 1);
            characters.splice(start..start, inserted.chars());
        }
        Change::CopyLine(from, to) => {
            let mut lines: Vec<&str> = text.split('\n').collect();
            let line = lines[from.index(lines.len())];
            lines.insert(to.index(lines.len()), line);
            return lines.join("\n");
        }
        Change::Delete(..) => {}
    }
    characters.into_iter().collect()
}

#[test]
fn changed_manifests_are_read_without_a_panic() {
    let folders = ["tests/deck", "tests/malformed", "../../deploy/shop"];
    let texts: Vec<String> = folders
        .into_iter()
        .flat_map(manifests_in)
        .filter_map(|file| fs::read_to_string(file).ok())
        .filter(|text| text.len() < 20_000)
        .collect();
    let changes = (any::<Index>(), vec(change(), 1..6));
    let result = runner(1500).run(&changes, |(which, changes)| {
        let mut text = texts[which.index(texts.len())].clone();
        for change in &changes {
            text = apply(&text, change);
        }
        read_and_check(&text)
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

fn read_and_check(text: &str) -> Result<(), TestCaseError> {
    let mut loaded = read_str(Path::new("text.yaml"), text);
    loaded
        .diagnostics
        .extend(check_references(&loaded.objects, None));
    inside(text, &loaded.diagnostics)?;
    let objects: Vec<_> = loaded
        .objects
        .iter()
        .map(|object| object.at.clone())
        .collect();
    prop_assert!(
        objects
            .iter()
            .all(|at| at.line >= 1 && at.line as usize <= lines(text).len())
    );
    Ok(())
}

/// Lines as an editor counts them: the one after the last newline too.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

fn inside(text: &str, diagnostics: &[Diagnostic]) -> Result<(), TestCaseError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = lines(&text);
    for diagnostic in diagnostics {
        let at = &diagnostic.at;
        let line = lines.get(at.line as usize - 1);
        prop_assert!(
            line.is_some(),
            "{diagnostic} is outside of {} lines",
            lines.len()
        );
        let length = line.map_or(0, |line| line.chars().count());
        prop_assert!(
            at.column >= 1 && at.column as usize <= length + 1,
            "{diagnostic} is outside of its line, which has {length} characters"
        );
    }
    Ok(())
}
