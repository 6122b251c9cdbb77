//! Works on the files it sees: `/read?path=P` answers with `{"text": …}`,
//! `/list?path=P` with `{"names": […]}` in order, `/write?path=P&text=T` and
//! `/link?path=P&text=TARGET` with `{}`. `/fill?path=P&mib=N` writes N MiB and
//! `/arguments` answers with `{"arguments": […], "folder": …}`. What fails is
//! 500 with `{"error": KIND}`.

use std::io::{self, Write};

use galleria_test_guests::{Call, guest};
use serde_json::{Value, json};

guest!(answer);

fn answer(call: Call) {
    match run(&call) {
        Ok(document) => call.reply_json(200, &document),
        Err(error) => call.reply_json(500, &json!({ "error": error.kind().to_string() })),
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
        "/arguments" => Ok(json!({
            "arguments": std::env::args().collect::<Vec<_>>(),
            "folder": std::env::current_dir()?,
        })),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The standard library makes no links on WASI: the parent's preopen does.
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
