//! The form of a response, which the client chooses by `Accept`: whole objects, a table for
//! kubectl to print, or only metadata.

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::{Cell, Kind, columns_of};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// In a version of `meta.k8s.io`.
    Table(String),
    Metadata(String),
}

impl Form {
    /// The first known form, in the order of the header.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        for media in accepted.flat_map(|value| value.split(',')) {
            let parameter = |name: &str| {
                media.split(';').skip(1).find_map(|parameter| {
                    let (key, value) = parameter.trim().split_once('=')?;
                    (key == name).then(|| value.to_owned())
                })
            };
            let version = parameter("v").unwrap_or_else(|| "v1".to_owned());
            match parameter("as").as_deref() {
                Some("Table") => return Self::Table(version),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    return Self::Metadata(version);
                }
                _ if media.trim().starts_with("application/json") => return Self::Whole,
                _ => {}
            }
        }
        Self::Whole
    }

    /// One object, for the response to a get or for an event of a watch.
    pub(super) fn one(&self, kind: &Kind, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Table(version) => {
                let resource_version = object["metadata"]["resourceVersion"].clone();
                let metadata = json!({"resourceVersion": resource_version});
                table(version, kind, &[object], &metadata)
            }
            Self::Metadata(version) => partial(version, &object),
        }
    }

    /// A list with its `metadata`.
    pub(super) fn list(
        &self,
        kind: &Kind,
        api_version: &str,
        objects: &[Value],
        metadata: &Value,
    ) -> Value {
        match self {
            Self::Whole => json!({
                "kind": format!("{}List", kind.kind),
                "apiVersion": api_version,
                "metadata": metadata,
                "items": objects,
            }),
            Self::Table(version) => table(version, kind, objects, metadata),
            Self::Metadata(version) => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
                "items": objects.iter().map(|object| partial(version, object)).collect::<Vec<_>>(),
            }),
        }
    }
}

fn partial(version: &str, object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

fn table(version: &str, kind: &Kind, objects: &[Value], metadata: &Value) -> Value {
    let now = Timestamp::now();
    let columns = columns_of(kind);
    let definitions = columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.data_type,
            "format": if column.name == "Name" { "name" } else { "" },
            "description": "",
            "priority": i32::from(column.wide),
        })
    });
    let row = |object: &Value| {
        let cell = Cell { object, now };
        let cells: Vec<Value> = columns.iter().map(|column| (column.cell)(cell)).collect();
        json!({"cells": cells, "object": partial(version, object)})
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": definitions.collect::<Vec<_>>(),
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a value"));
        Form::of(&headers)
    }

    #[test]
    fn the_client_chooses_the_form() {
        assert_eq!(form("application/json"), Form::Whole);
        assert_eq!(form("*/*"), Form::Whole);
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Form::Table("v1".into())
        );
        assert_eq!(
            form("application/json, application/json;as=Table;v=v1"),
            Form::Whole
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Form::Metadata("v1".into())
        );
    }

    #[test]
    fn a_pod_is_a_row() {
        let kind = Kind::at("", "v1", "pods").expect("pods");
        let pod = json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"ready": false, "restartCount": 3,
                 "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            ]},
        });
        let table = Form::Table("v1".into()).one(kind, pod);
        let row = &table["rows"][0];
        assert_eq!(
            row["cells"],
            json!([
                "a",
                "0/1",
                "CrashLoopBackOff",
                "3",
                "<unknown>",
                "<none>",
                "<none>",
                "<none>",
                "<none>"
            ])
        );
        assert_eq!(row["object"]["metadata"]["name"], "a");
        assert_eq!(table["columnDefinitions"][4]["name"], "Age");
    }
}
