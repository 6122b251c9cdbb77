//! Volumes whose files come from the API: configMap, secret, downwardAPI, projected.

use super::env;
use crate::codes;
use crate::decode::{Decoder, Fields, boolean, integer, items, located_string, non_empty};
use crate::model::{DownwardFile, FileSource, FileVolume, KeyFile, KeySource};
use crate::yaml::Node;

const MODE_DEFAULT: u32 = 0o644;

pub(super) fn config_map(d: &mut Decoder, node: &Node) -> Option<FileVolume> {
    single(d, node, |fields| {
        key_source(fields, "name").map(FileSource::ConfigMap)
    })
}

pub(super) fn secret(d: &mut Decoder, node: &Node) -> Option<FileVolume> {
    single(d, node, |fields| {
        key_source(fields, "secretName").map(FileSource::Secret)
    })
}

pub(super) fn downward_api(d: &mut Decoder, node: &Node) -> Option<FileVolume> {
    single(d, node, |fields| {
        Some(FileSource::DownwardApi(fields.list("items", downward_file)))
    })
}

fn single<'n>(
    d: &mut Decoder,
    node: &'n Node,
    read: impl FnOnce(&mut Fields<'_, 'n>) -> Option<FileSource>,
) -> Option<FileVolume> {
    let mut fields = Fields::of(d, node)?;
    let source = read(&mut fields);
    let default_mode = fields.optional("defaultMode", mode).unwrap_or(MODE_DEFAULT);
    fields.finish(&[]);
    let volume = FileVolume {
        sources: vec![source?],
        default_mode,
        projected: false,
    };
    check_paths(d, node, &volume);
    Some(volume)
}

pub(super) fn projected(d: &mut Decoder, node: &Node) -> Option<FileVolume> {
    let mut fields = Fields::of(d, node)?;
    let sources = fields
        .optional("sources", |d, node| items(d, node, projection))
        .unwrap_or_default();
    let default_mode = fields.optional("defaultMode", mode).unwrap_or(MODE_DEFAULT);
    fields.finish(&[]);
    let volume = FileVolume {
        sources: sources.into_iter().flatten().collect(),
        default_mode,
        projected: true,
    };
    check_paths(d, node, &volume);
    Some(volume)
}

/// One of `projected.sources`; `Some(None)` for one without files on this host.
fn projection(d: &mut Decoder, node: &Node) -> Option<Option<FileSource>> {
    const KINDS: [&str; 6] = [
        "configMap",
        "secret",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ];
    let mut fields = Fields::of(d, node)?;
    let config_map = fields.optional("configMap", |d, node| {
        source(d, node, FileSource::ConfigMap)
    });
    let secret = fields.optional("secret", |d, node| source(d, node, FileSource::Secret));
    let downward = fields.optional("downwardAPI", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let files = fields.list("items", downward_file);
        fields.finish(&[]);
        Some(FileSource::DownwardApi(files))
    });
    for (kind, reason) in [
        (
            "serviceAccountToken",
            "this host issues no tokens, since there is no API server to accept them; the file does \
             not exist",
        ),
        (
            "clusterTrustBundle",
            "this host has no trust bundles; the file does not exist, put it into a configMap",
        ),
        (
            "podCertificate",
            "the host proves a pod's identity itself; the file does not exist",
        ),
    ] {
        if fields.take(kind).is_some() {
            fields.warn_at(kind, codes::NOT_HONOURED, reason.to_owned());
        }
    }
    if KINDS.iter().filter(|kind| fields.has(kind)).count() != 1 {
        let message = format!("needs exactly one of {}", KINDS.join(", "));
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&[]);
    Some(config_map.or(secret).or(downward))
}

fn source(d: &mut Decoder, node: &Node, kind: fn(KeySource) -> FileSource) -> Option<FileSource> {
    let mut fields = Fields::of(d, node)?;
    let source = key_source(&mut fields, "name");
    fields.finish(&[]);
    source.map(kind)
}

fn key_source(fields: &mut Fields<'_, '_>, name_field: &'static str) -> Option<KeySource> {
    let name = fields.required(name_field, located_string);
    let items = fields.list("items", key_file);
    let optional = fields.optional("optional", boolean).unwrap_or(false);
    Some(KeySource {
        name: name?,
        items,
        optional,
    })
}

fn key_file(d: &mut Decoder, node: &Node) -> Option<KeyFile> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.required("key", located_string);
    let path = fields.required("path", path_below);
    let mode = fields.optional("mode", mode);
    fields.finish(&[]);
    Some(KeyFile {
        key: key?,
        path: path?,
        mode,
    })
}

fn downward_file(d: &mut Decoder, node: &Node) -> Option<DownwardFile> {
    let mut fields = Fields::of(d, node)?;
    let path = fields.required("path", path_below);
    let field = fields.optional("fieldRef", env::volume_field);
    let resource = fields.optional("resourceFieldRef", env::resource_reference);
    if fields.has("fieldRef") == fields.has("resourceFieldRef") {
        let message = "needs exactly one of fieldRef, resourceFieldRef";
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    let mode = fields.optional("mode", mode);
    fields.finish(&[]);
    Some(DownwardFile {
        path: path?,
        value: field.or(resource)?,
        mode,
    })
}

/// A relative path without `..`. Its first element must not begin with `..` either, which is
/// the prefix of the host's own files.
pub(super) fn path_below(d: &mut Decoder, node: &Node) -> Option<String> {
    let path = non_empty(d, node)?;
    if path.starts_with('/') || path.starts_with("..") || path.split('/').any(|part| part == "..") {
        let shown = d.show(&path);
        let message = format!("{shown} must be a path below the volume, without `..`");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(path)
}

/// Reports two entries for one file, and a file where another entry needs a folder.
fn check_paths(d: &mut Decoder, node: &Node, volume: &FileVolume) {
    let paths: Vec<&str> = volume
        .sources
        .iter()
        .flat_map(|source| match source {
            FileSource::ConfigMap(keys) | FileSource::Secret(keys) => keys
                .items
                .iter()
                .map(|item| item.path.as_str())
                .collect::<Vec<_>>(),
            FileSource::DownwardApi(files) => files.iter().map(|file| file.path.as_str()).collect(),
        })
        .collect();
    for (index, path) in paths.iter().enumerate() {
        let clash = paths[..index]
            .iter()
            .find(|earlier| is_within(path, earlier) || is_within(earlier, path));
        if let Some(earlier) = clash {
            let message = format!("the files `{earlier}` and `{path}` cannot both exist");
            d.error(node.mark, codes::DUPLICATE_NAME, message);
        }
    }
}

fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// File mode bits. `0644` is octal, as in a cluster; JSON has only decimal numbers (420).
fn mode(d: &mut Decoder, node: &Node) -> Option<u32> {
    let text = node.as_text().unwrap_or_default();
    if text.parse::<u32>().is_ok_and(|number| number > 0o777) && !text.starts_with('0') {
        let message = format!(
            "{text} is above 511, the decimal form of 0777; mode bits are octal: write 0{text}"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    integer(0..=0o777)(d, node)
}
