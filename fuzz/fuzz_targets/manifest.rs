//! Reads any text as manifests and compiles them: no panic, no stall, no more memory than
//! the limits allow, and the position of every problem is within the text.

#![no_main]

use std::path::Path;
use std::time::Instant;

use galleria_manifest::{Diagnostic, check_references, read_str};
use galleria_mesh::{Options, State, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut loaded = read_str(Path::new("text.yaml"), text);
    let references = check_references(&loaded.objects, None);
    loaded.diagnostics.extend(references);
    let options = Options::default();
    let state = State::new(Instant::now());
    let compiled = compile(&loaded.objects, &[], &options, &state);
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = lines.split('\n').collect();
    for diagnostic in loaded.diagnostics.iter().chain(&compiled.diagnostics) {
        assert_inside(&lines, diagnostic);
    }
});

fn assert_inside(lines: &[&str], diagnostic: &Diagnostic) {
    let (line, column) = (diagnostic.at.line as usize, diagnostic.at.column as usize);
    let length = lines
        .get(line.wrapping_sub(1))
        .map(|line| line.chars().count());
    assert!(
        length.is_some_and(|length| (1..=length + 1).contains(&column)),
        "the position of {diagnostic} is outside the text"
    );
}
