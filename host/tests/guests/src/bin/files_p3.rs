//! A WASI 0.3 guest that works on its first mount by `wasi:filesystem@0.3`.
//! `/fill?path=P&mib=N` writes N MiB and `/append?path=P` one more,
//! `/extend?path=P&mib=N` creates a file of N MiB without writing them, `/list` returns
//! the names, `/hoard?path=P&count=N` opens a file N times and `/begin?count=N` starts to
//! read the folder N times; neither closes anything. The response says what was done, or
//! is 500 with the error.

use galleria_test_guests::wasip3::filesystem::preopens::get_directories;
use galleria_test_guests::wasip3::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode as FileError, OpenFlags, PathFlags,
};
use galleria_test_guests::wasip3::http::types::{ErrorCode, Request, Response};
use galleria_test_guests::wasip3::{wit_bindgen, wit_stream};
use galleria_test_guests::{guest_p3, p3};

guest_p3!(answer);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    Ok(match run(&request).await {
        Ok(text) => p3::text(200, text),
        Err(error) => p3::text(500, format!("{error:?}")),
    })
}

async fn run(request: &Request) -> Result<String, FileError> {
    let path = p3::parameter(request, "path").unwrap_or_default();
    let mut folders = get_directories().into_iter();
    let (folder, _) = folders.next().ok_or(FileError::NoEntry)?;
    match p3::path(request).as_str() {
        "/fill" => fill(&create(&folder, path).await?, number(request, "mib")).await,
        "/append" => append(&create(&folder, path).await?).await,
        "/extend" => {
            let file = create(&folder, path).await?;
            file.set_size(number(request, "mib") << 20).await?;
            Ok("extended".into())
        }
        "/list" => {
            let (entries, ended) = folder.read_directory();
            let entries = entries.collect().await;
            ended.await?;
            let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
            names.sort();
            Ok(names.join(" "))
        }
        "/hoard" => {
            for index in 0..number(request, "count") {
                match create(&folder, path.clone()).await {
                    Ok(file) => std::mem::forget(file),
                    Err(error) => return Ok(format!("{index} {error:?}")),
                }
            }
            Ok("all".into())
        }
        "/begin" => {
            for index in 0..number(request, "count") {
                let (mut entries, ended) = folder.read_directory();
                if entries.next().await.is_none() {
                    return Ok(format!("{index} {:?}", ended.await));
                }
                std::mem::forget((entries, ended));
            }
            Ok("all".into())
        }
        _ => Err(FileError::NoEntry),
    }
}

fn number(request: &Request, name: &str) -> u64 {
    let number = p3::parameter(request, name);
    number.and_then(|text| text.parse().ok()).unwrap_or(1)
}

async fn create(folder: &Descriptor, path: String) -> Result<Descriptor, FileError> {
    let (none, create) = (PathFlags::empty(), OpenFlags::CREATE);
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    folder.open_at(none, path, create, flags).await
}

async fn fill(file: &Descriptor, mib: u64) -> Result<String, FileError> {
    let (mut sender, receiver) = wit_stream::new();
    let ended = file.write_via_stream(receiver, 0);
    wit_bindgen::spawn_local(async move {
        for _ in 0..mib {
            if !sender.write_all(vec![1; 1 << 20]).await.is_empty() {
                break;
            }
        }
    });
    ended.await?;
    Ok("filled".into())
}

async fn append(file: &Descriptor) -> Result<String, FileError> {
    let (mut sender, receiver) = wit_stream::new();
    let ended = file.append_via_stream(receiver);
    wit_bindgen::spawn_local(async move {
        // The rest was refused, as `ended` reports.
        sender.write_all(vec![1; 1 << 20]).await;
    });
    ended.await?;
    Ok("appended".into())
}
