//! A random change of one object: a field is removed, added, copied, or gets another value.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::case::{documents, identity};
use super::generate::{OBJECTS, is_of_istio};
use super::values::{CHOICES, NUMBERS, TEXTS};
use crate::choice::Choose;

pub(super) struct Mutator<'r> {
    rng: &'r mut StdRng,
}

impl<'r> Mutator<'r> {
    pub(super) fn new(rng: &'r mut StdRng) -> Self {
        Self { rng }
    }

    /// Changes one object of Istio's; says what was changed, if anything was.
    pub(super) fn change(&mut self, objects: &mut Vec<Value>) -> Option<String> {
        let istio = (0..objects.len()).filter(|at| is_of_istio(&objects[*at]));
        let istio: Vec<usize> = istio.collect();
        if istio.is_empty() {
            return None;
        }
        let at = self.rng.pick(&istio);
        let [kind, _, name] = identity(&objects[at]);
        let place = format!("{kind}/{name}");
        let what = match self.rng.random_range(0..20) {
            0 => {
                let copy = objects[at].clone();
                objects.push(copy);
                "twice".to_owned()
            }
            1 => {
                let namespace = self.rng.pick(&["shop", "bank", "istio-system"]);
                objects[at]["metadata"]["namespace"] = namespace.into();
                format!("in {namespace}")
            }
            _ => self.change_spec(&mut objects[at])?,
        };
        Some(format!("{place}: {what}"))
    }

    fn change_spec(&mut self, object: &mut Value) -> Option<String> {
        let mut pointers = Vec::new();
        collect(&object["spec"], "/spec".to_owned(), &mut pointers);
        let at = self.rng.random_range(0..pointers.len());
        let pointer = pointers[at].clone();
        let donors = self.rng.chance(25).then(|| self.donor(&pointer)).flatten();
        let value = object.pointer_mut(&pointer)?;
        let what = match donors {
            Some(donor) => self.cross(value, donor),
            None => self.change_value(value),
        };
        if what == "removed" {
            remove(object, &pointer);
        }
        Some(format!("{pointer} {what}"))
    }

    fn change_value(&mut self, value: &mut Value) -> String {
        if self.rng.chance(15) {
            return "removed".to_owned();
        }
        if self.rng.chance(12) {
            *value = self.other_type();
            return format!("= {value}");
        }
        match value {
            Value::Object(fields) => self.change_fields(fields),
            Value::Array(items) => self.change_items(items),
            Value::Bool(value) => *value = !*value,
            Value::Number(_) => *value = number(self.rng.pick(&NUMBERS)),
            Value::String(text) => {
                let is_choice = text.chars().all(|it| it.is_ascii_uppercase() || it == '_');
                *text = match is_choice && self.rng.chance(60) {
                    true => self.rng.pick(&CHOICES).to_owned(),
                    false => self.rng.pick(&TEXTS).to_owned(),
                };
            }
            Value::Null => {}
        }
        format!("= {value}")
    }

    fn change_fields(&mut self, fields: &mut Map<String, Value>) {
        match self.rng.random_range(0..4) {
            0 => fields.clear(),
            1 => drop(fields.insert("unknown".to_owned(), json!("x"))),
            _ => {
                let names: Vec<String> = fields.keys().cloned().collect();
                if names.len() < 2 {
                    return fields.clear();
                }
                // The values of two fields change their places.
                let one = &names[self.rng.random_range(0..names.len())];
                let other = &names[self.rng.random_range(0..names.len())];
                let value = fields[one].clone();
                let value = std::mem::replace(&mut fields[other], value);
                fields[one] = value;
            }
        }
    }

    fn change_items(&mut self, items: &mut Vec<Value>) {
        let at = self.rng.random_range(0..items.len().max(1));
        match self.rng.random_range(0..3) {
            0 => items.clear(),
            1 if at < items.len() => items.push(items[at].clone()),
            _ => items.reverse(),
        }
    }

    /// Takes the fields that another object has at a place of the same name.
    fn cross(&mut self, value: &mut Value, donor: Value) -> String {
        match (value, donor) {
            (Value::Object(fields), Value::Object(donor)) if !donor.is_empty() => {
                let at = self.rng.random_range(0..donor.len());
                let (name, taken) = donor.into_iter().nth(at).expect("at is below the length");
                let what = format!("gets {name} = {taken}");
                fields.insert(name, taken);
                what
            }
            (value, donor) => {
                *value = donor;
                format!("= {value}")
            }
        }
    }

    /// A value of some object whose field has the same name.
    fn donor(&mut self, pointer: &str) -> Option<Value> {
        let mut found = Vec::new();
        for object in documents(OBJECTS) {
            let mut pointers = Vec::new();
            collect(&object["spec"], "/spec".to_owned(), &mut pointers);
            pointers.retain(|it| field_of(it) == field_of(pointer));
            found.extend(pointers.iter().filter_map(|it| object.pointer(it).cloned()));
        }
        (!found.is_empty()).then(|| self.rng.one(&found))
    }

    fn other_type(&mut self) -> Value {
        let all = [
            json!(null),
            json!(true),
            json!("text"),
            json!(7),
            json!([]),
            json!({}),
            json!(["text"]),
            json!({"text": "text"}),
            json!([{}]),
        ];
        self.rng.one(&all)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole numbers are written without a fraction"
)]
fn number(value: f64) -> Value {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// The last name in a JSON pointer.
fn field_of(pointer: &str) -> &str {
    let is_name = |it: &&str| it.parse::<usize>().is_err();
    pointer.rsplit('/').find(is_name).unwrap_or_default()
}

/// The JSON pointers of a value and of all values in it.
fn collect(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(field, format!("{pointer}/{name}"), pointers);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{at}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Ok(at) = name.parse::<usize>() {
                items.remove(at);
            }
        }
        _ => {}
    }
}
