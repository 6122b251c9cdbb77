//! Objects in Kubernetes' protobuf encoding, which kubectl sends when it builds an object
//! itself (`kubectl create deployment …`). They are decoded to JSON by the schema of the
//! kind and the numbers of its fields; responses are always JSON.
//!
//! A field with an unknown number is an error, so that no field is lost silently.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Value};

use crate::admin::openapi;

pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of every body in this encoding.
const MAGIC: &[u8] = b"k8s\0";

/// Nesting of messages: more than any kind has.
const DEPTH_MAX: usize = 32;

/// Numbers and flags that clients also send when they are not set: zero means absent.
const PLAIN: [&str; 19] = [
    "failureThreshold",
    "generation",
    "healthCheckNodePort",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "paused",
    "periodSeconds",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "successThreshold",
    "timeoutSeconds",
    "tty",
];

/// Names of fields, by the name of the message without `io.k8s.` and by number.
static NUMBERS: LazyLock<HashMap<&str, HashMap<u32, &str>>> = LazyLock::new(|| {
    let lines = include_str!("numbers.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    let message = |line: &'static str| {
        let mut words = line.split(' ');
        let field = |word: &'static str| {
            let (number, name) = word.split_once('=')?;
            Some((number.parse().ok()?, name))
        };
        let name = words.next().unwrap_or_default();
        (name, words.filter_map(field).collect())
    };
    lines.map(message).collect()
});

/// The wrapper around every object.
#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct IntOrString {
    #[prost(int64, tag = "1")]
    is_string: i64,
    #[prost(int32, tag = "2")]
    number: i32,
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Quantity {
    #[prost(string, tag = "1")]
    text: String,
}

/// `FieldsV1`, and other messages that contain plain JSON.
#[derive(Clone, PartialEq, Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    json: Vec<u8>,
}

/// Why a body cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtobufError {
    #[error("it does not start with the Kubernetes protobuf prefix")]
    Magic,
    #[error("`{kind}` of `{api_version}` is not supported in protobuf; send JSON")]
    Kind { api_version: String, kind: String },
    #[error("field {number} of {message} is not supported in protobuf; send JSON")]
    Field { message: String, number: u32 },
    #[error("it is malformed: {0}")]
    Form(String),
}

impl From<prost::DecodeError> for ProtobufError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Form(error.to_string())
    }
}

/// The object in `body`, as JSON.
///
/// # Errors
/// See [`ProtobufError`].
pub(super) fn read(body: &[u8]) -> Result<Value, ProtobufError> {
    let body = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let unknown = Unknown::decode(body)?;
    let TypeMeta { api_version, kind } = unknown.type_meta.unwrap_or_default();
    let Some(name) = definition_of(&api_version, &kind) else {
        return Err(ProtobufError::Kind { api_version, kind });
    };
    let mut object = message(name, &unknown.raw, 0)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn definitions() -> &'static Value {
    &openapi::v2()["definitions"]
}

fn definition_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_it = |definition: &Value| {
        let gvk = &definition["x-kubernetes-group-version-kind"][0];
        gvk["group"] == group && gvk["version"] == version && gvk["kind"] == kind
    };
    let mut all = definitions().as_object()?.iter();
    all.find(|(_, definition)| is_it(definition))
        .map(|(name, _)| name.as_str())
}

/// The message whose schema is the definition `name`.
fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, ProtobufError> {
    let short = name.strip_prefix("io.k8s.").unwrap_or(name);
    let properties = &definitions()[name]["properties"];
    let mut object = Map::new();
    fields(short, properties, bytes, depth, &mut object)?;
    Ok(object)
}

/// Reads the fields of `name` into `object`, whose schema is `properties`.
fn fields(
    name: &str,
    properties: &Value,
    mut bytes: &[u8],
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Form("it is nested too deeply".to_owned()));
    }
    let unknown = |number| ProtobufError::Field {
        message: name.to_owned(),
        number,
    };
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes)?;
        let field = Field::take(wire, &mut bytes)?;
        let known = NUMBERS.get(name).and_then(|fields| fields.get(&number));
        match *known.ok_or_else(|| unknown(number))? {
            // A client cannot set the status of an object.
            "status" if depth == 0 => {}
            inner if inner.starts_with('+') => {
                let package = name.rsplit_once('.').map_or("", |(package, _)| package);
                let inner = format!("{package}.{}", inner.trim_start_matches('+'));
                fields(&inner, properties, field.bytes()?, depth + 1, object)?;
            }
            property => add(object, property, &properties[property], &field, depth)?,
        }
    }
    Ok(())
}

/// A field as it is encoded.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn take(wire: WireType, bytes: &mut &'a [u8]) -> Result<Self, ProtobufError> {
        let cut = || ProtobufError::Form("it is truncated".to_owned());
        match wire {
            WireType::Varint => Ok(Self::Number(decode_varint(bytes)?)),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(bytes)?).map_err(|_| cut())?;
                let (taken, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
                *bytes = rest;
                Ok(Self::Bytes(taken))
            }
            other => Err(ProtobufError::Form(format!(
                "unexpected field type {other:?}"
            ))),
        }
    }

    fn bytes(&self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(ProtobufError::Form(
                "expected a string, found a number".to_owned(),
            )),
        }
    }
}

fn add(
    object: &mut Map<String, Value>,
    property: &str,
    schema: &Value,
    field: &Field<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if let Some(items) = schema.get("items") {
        let item = value(items, field, depth)?;
        let list = object
            .entry(property)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(item);
        }
        return Ok(());
    }
    if let Some(values) = schema.get("additionalProperties") {
        let (key, item) = entry(values, field.bytes()?, depth)?;
        let map = object
            .entry(property)
            .or_insert_with(|| Value::Object(Map::new()));
        map[key] = item;
        return Ok(());
    }
    let value = value(schema, field, depth)?;
    let is_unset = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        value => (*value == 0 || *value == false) && PLAIN.contains(&property),
    };
    if !is_unset {
        object.insert(property.to_owned(), value);
    }
    Ok(())
}

fn entry(values: &Value, mut bytes: &[u8], depth: usize) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut item) = (String::new(), None);
    while bytes.has_remaining() {
        let (number, wire) = decode_key(&mut bytes)?;
        let field = Field::take(wire, &mut bytes)?;
        match number {
            1 => key = text(field.bytes()?)?,
            _ => item = Some(value(values, &field, depth)?),
        }
    }
    Ok((key, item.unwrap_or_else(|| "".into())))
}

fn value(schema: &Value, field: &Field<'_>, depth: usize) -> Result<Value, ProtobufError> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/definitions/");
        return referred(name, field.bytes()?, depth);
    }
    match (field, schema["type"].as_str()) {
        (Field::Number(number), Some("boolean")) => Ok((*number != 0).into()),
        // Negative numbers are encoded in two's complement.
        (Field::Number(number), _) => Ok(number.cast_signed().into()),
        (Field::Bytes(bytes), _) if schema["format"] == "byte" => Ok(STANDARD.encode(bytes).into()),
        (Field::Bytes(bytes), _) => text(bytes).map(Value::from),
    }
}

/// A message of the definition `name`. Some have a JSON form of their own.
fn referred(name: &str, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let last = name.rsplit('.').next().unwrap_or_default();
    match last {
        "Time" | "MicroTime" => {
            let Time { seconds, nanos } = Time::decode(bytes)?;
            // A time that the client has not set.
            if (seconds, nanos) == (0, 0) {
                return Ok(Value::Null);
            }
            let at = Timestamp::new(seconds, nanos)
                .map_err(|error| ProtobufError::Form(error.to_string()))?;
            Ok(at.to_string().into())
        }
        "Quantity" => Ok(Quantity::decode(bytes)?.text.into()),
        "IntOrString" => {
            let it = IntOrString::decode(bytes)?;
            Ok(match it.is_string {
                0 => it.number.into(),
                _ => it.text.into(),
            })
        }
        "FieldsV1" => serde_json::from_slice(&Raw::decode(bytes)?.json)
            .map_err(|error| ProtobufError::Form(error.to_string())),
        _ => message(name, bytes, depth + 1).map(Value::Object),
    }
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| ProtobufError::Form("a string is not UTF-8".to_owned()))?;
    Ok(text.to_owned())
}
