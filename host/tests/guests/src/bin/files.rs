//! Works on its files: `/read?path=P` returns `{"text": …}`, `/list?path=P` returns
//! `{"names": […]}` in order, `/write?path=P&text=T` and `/link?path=P&text=TARGET`
//! return `{}`. `/fill?path=P&mib=N` writes N MiB, `/extend?path=P&mib=N` creates a file
//! of N MiB without writing them, `/remove?path=P` removes and `/move?path=P&text=TO`
//! moves a file. `/scatter?path=P&count=N` creates N files, and `/hoard?path=P&count=N`
//! opens one file N times and never closes it; both return `{"done": …, "error": …}` and
//! stop at an error. `/arguments` returns `{"arguments": […], "folder": …}`. A failure
//! returns 500 with `{"error": KIND}`.

use std::io::{self, Write};

use galleria_test_guests::{Call, guest};
use serde_json::{Value, json};

guest!(answer);

fn answer(call: Call) {
    match run(&call) {
        Ok(document) => call.reply_json(200, &document),
        Err(error) => call.reply_json(500, &json!({ "error": kind(&error) })),
    }
}

fn run(call: &Call) -> io::Result<Value> {
    let path = call.parameter("path").unwrap_or_default();
    let text = call.parameter("text").unwrap_or_default();
    match call.path().as_str() {
        "/read" => Ok(json!({ "text": std::fs::read_to_string(path)? })),
        "/list" => {
            let names = std::fs::read_dir(path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<std::collections::BTreeSet<_>>>()?;
            Ok(json!({ "names": names }))
        }
        "/write" => std::fs::write(path, text).map(|()| json!({})),
        "/link" => link(&text, &path).map(|()| json!({})),
        "/fill" => {
            let mib = call.parameter("mib").and_then(|mib| mib.parse().ok());
            let mut file = std::fs::File::create(path)?;
            for _ in 0..mib.unwrap_or(1) {
                file.write_all(&vec![1; 1 << 20])?;
            }
            Ok(json!({}))
        }
        "/extend" => {
            let mib: u64 = number(call, "mib");
            std::fs::File::create(path)?.set_len(mib << 20)?;
            Ok(json!({}))
        }
        "/remove" => std::fs::remove_file(path).map(|()| json!({})),
        "/move" => std::fs::rename(path, text).map(|()| json!({})),
        "/scatter" => Ok(repeat(call, |index| {
            std::fs::write(format!("{path}/{index}"), "x")
        })),
        "/hoard" => Ok(repeat(call, |_| {
            std::fs::File::open(&path).map(std::mem::forget)
        })),
        "/arguments" => Ok(json!({
            "arguments": std::env::args().collect::<Vec<_>>(),
            "folder": std::env::current_dir()?,
        })),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The standard library of WASI has no kinds for these. A stream's `insufficient-space`
/// arrives as EIO, because the C library does not query the details.
fn kind(error: &io::Error) -> String {
    const EIO: i32 = 29;
    const ENOSPC: i32 = 51;
    match error.raw_os_error() {
        Some(EIO) => "input/output error".to_owned(),
        Some(ENOSPC) => io::ErrorKind::StorageFull.to_string(),
        _ => error.kind().to_string(),
    }
}

fn number(call: &Call, name: &str) -> u64 {
    let number = call.parameter(name).and_then(|text| text.parse().ok());
    number.unwrap_or(1)
}

fn repeat(call: &Call, mut act: impl FnMut(u64) -> io::Result<()>) -> Value {
    let count = number(call, "count");
    for index in 0..count {
        if let Err(error) = act(index) {
            return json!({ "done": index, "error": kind(&error) });
        }
    }
    json!({ "done": count, "error": null })
}

/// The standard library cannot create links on WASI; the parent's preopen can.
#[cfg(target_family = "wasm")]
fn link(target: &str, path: &str) -> io::Result<()> {
    use galleria_test_guests::wasip2::filesystem::preopens::get_directories;
    let (folder, below) = get_directories()
        .into_iter()
        .find_map(|(folder, at)| {
            let below = path.strip_prefix(&at)?.strip_prefix('/')?.to_owned();
            Some((folder, below))
        })
        .ok_or(io::ErrorKind::NotFound)?;
    folder
        .symlink_at(target, &below)
        .map_err(|_| io::ErrorKind::PermissionDenied.into())
}

#[cfg(not(target_family = "wasm"))]
fn link(target: &str, path: &str) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}
