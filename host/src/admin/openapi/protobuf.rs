//! Version 2 in protobuf: the part of `openapi.v2` that this host uses.
//!
//! <https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto>

use serde_json::{Map, Value};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    pub(super) definitions: Option<NamedSchemas>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PathItem {
    #[prost(message, optional, tag = "2")]
    get: Option<Operation>,
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Operation {
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Parameter {
    #[prost(message, optional, tag = "2")]
    non_body_parameter: Option<NonBodyParameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NonBodyParameter {
    #[prost(message, optional, tag = "3")]
    query_parameter: Option<QueryParameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct QueryParameter {
    #[prost(string, tag = "2")]
    r#in: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    r#type: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NamedSchemas {
    #[prost(message, repeated, tag = "1")]
    pub(super) additional_properties: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, optional, boxed, tag = "21")]
    additional_properties: Option<Box<AdditionalProperties>>,
    #[prost(message, optional, tag = "22")]
    r#type: Option<Texts>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<NamedSchemas>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AdditionalProperties {
    #[prost(message, optional, boxed, tag = "1")]
    schema: Option<Box<Schema>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}

impl Document {
    /// Converts the document in JSON.
    pub(super) fn of(json: &Value) -> Self {
        let path = |(name, value): (&String, &Value)| NamedPathItem {
            name: name.clone(),
            value: Some(PathItem {
                get: value.get("get").map(Operation::of),
                patch: value.get("patch").map(Operation::of),
            }),
        };
        Self {
            swagger: text(json, "swagger"),
            info: Some(Info {
                title: text(&json["info"], "title"),
                version: text(&json["info"], "version"),
            }),
            paths: Some(Paths {
                path: fields(&json["paths"]).map(path).collect(),
            }),
            definitions: Some(NamedSchemas::of(&json["definitions"])),
        }
    }
}

impl Operation {
    fn of(json: &Value) -> Self {
        let parameter = |it: &Value| ParametersItem {
            parameter: Some(Parameter {
                non_body_parameter: Some(NonBodyParameter {
                    query_parameter: Some(QueryParameter {
                        r#in: text(it, "in"),
                        name: text(it, "name"),
                        r#type: text(it, "type"),
                    }),
                }),
            }),
        };
        let parameters = json["parameters"].as_array().into_iter().flatten();
        Self {
            parameters: parameters.map(parameter).collect(),
            vendor_extension: extensions(json),
        }
    }
}

impl NamedSchemas {
    fn of(json: &Value) -> Self {
        let named = |(name, value): (&String, &Value)| NamedSchema {
            name: name.clone(),
            value: Some(Schema::of(value)),
        };
        Self {
            additional_properties: fields(json).map(named).collect(),
        }
    }
}

impl Schema {
    fn of(json: &Value) -> Self {
        let additional = json.get("additionalProperties").filter(|it| it.is_object());
        let required = json["required"].as_array().into_iter().flatten();
        Self {
            reference: text(json, "$ref"),
            format: text(json, "format"),
            description: text(json, "description"),
            required: required
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect(),
            additional_properties: additional.map(|schema| {
                Box::new(AdditionalProperties {
                    schema: Some(Box::new(Self::of(schema))),
                })
            }),
            r#type: json["type"].as_str().map(|name| Texts {
                value: vec![name.to_owned()],
            }),
            items: json.get("items").map(|schema| Items {
                schema: vec![Self::of(schema)],
            }),
            properties: json.get("properties").map(NamedSchemas::of),
            vendor_extension: extensions(json),
        }
    }
}

fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap_or_default().to_owned()
}

fn fields(json: &Value) -> impl Iterator<Item = (&String, &Value)> {
    json.as_object().into_iter().flat_map(Map::iter)
}

/// Fields that begin with `x-`. Their values are YAML, which JSON is.
fn extensions(json: &Value) -> Vec<NamedAny> {
    fields(json)
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| NamedAny {
            name: name.clone(),
            value: Some(Any {
                yaml: value.to_string(),
            }),
        })
        .collect()
}
