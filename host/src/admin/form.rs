//! The form of a response, which the client chooses by `Accept`: whole objects, a table for
//! kubectl to print, or only metadata.

use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::failure::Failure;
use super::kind::Kind;
use super::table::table;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// In a version of `meta.k8s.io`.
    Table(String, RowObject),
    Metadata(String),
}

/// What each row of a table has besides its cells: `includeObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum RowObject {
    None,
    #[default]
    Metadata,
    /// `kubectl get --sort-by` needs it.
    Object,
}

impl RowObject {
    /// # Errors
    /// There is no such value of `includeObject`.
    pub(super) fn of(parameter: &str) -> Result<Self, Failure> {
        match parameter {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Failure::BadRequest(format!(
                "unrecognized includeObject value: {other:?}; use None, Metadata or Object"
            ))),
        }
    }
}

impl Form {
    /// The first known form, in the order of the header.
    ///
    /// # Errors
    /// The client accepts no form that exists.
    pub(super) fn of(headers: &HeaderMap, object: RowObject) -> Result<Self, Failure> {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let mut is_any = true;
        for media in accepted.flat_map(|value| value.split(',')) {
            let media = media.trim();
            if media.is_empty() {
                continue;
            }
            is_any = false;
            let parameter = |name: &str| {
                media.split(';').skip(1).find_map(|parameter| {
                    let (key, value) = parameter.trim().split_once('=')?;
                    (key == name).then(|| value.to_owned())
                })
            };
            let media_type = media.split(';').next().unwrap_or(media).trim();
            if !matches!(media_type, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let version = parameter("v").unwrap_or_else(|| "v1".to_owned());
            return Ok(match parameter("as").as_deref() {
                Some("Table") => Self::Table(version, object),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    Self::Metadata(version)
                }
                Some(_) => continue,
                None => Self::Whole,
            });
        }
        match is_any {
            true => Ok(Self::Whole),
            false => Err(Failure::NotAcceptable),
        }
    }

    /// One object, for the response to a get or for an event of a watch.
    pub(super) fn one(&self, kind: &Kind, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Table(version, included) => {
                let resource_version = object["metadata"]["resourceVersion"].clone();
                let metadata = json!({"resourceVersion": resource_version});
                table(version, *included, kind, &[object], &metadata)
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
                "items": objects.iter().map(|it| as_item(kind, it)).collect::<Vec<_>>(),
            }),
            Self::Table(version, included) => table(version, *included, kind, objects, metadata),
            Self::Metadata(version) => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
                "items": objects.iter().map(|object| partial(version, object)).collect::<Vec<_>>(),
            }),
        }
    }
}

/// The items of a list do not repeat kind and version, unless they are custom resources.
fn as_item(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    if !kind.is_custom
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// Only the metadata of an object.
pub(super) fn partial(version: &str, object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Result<Form, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a value"));
        Form::of(&headers, RowObject::Metadata)
    }

    #[test]
    fn the_client_chooses_the_form() {
        let table = Form::Table("v1".into(), RowObject::Metadata);
        assert_eq!(form("application/json"), Ok(Form::Whole));
        assert_eq!(form("*/*"), Ok(Form::Whole));
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Ok(table)
        );
        assert_eq!(
            form("application/json, application/json;as=Table;v=v1"),
            Ok(Form::Whole)
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Form::Metadata("v1".into()))
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Form::Whole)
        );
        assert_eq!(form("application/xml"), Err(Failure::NotAcceptable));
    }
}
