//! Fields that a JSON body names twice. A parser keeps the last of them, so that they are
//! found on a walk of their own.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How many are named.
const NAMED_MAX: usize = 10;

/// Characters of a path that is named.
const PATH_MAX: usize = 200;

/// The paths of the fields that occur twice, such as `spec.replicas`. Empty if the body is
/// not JSON.
pub(in crate::admin) fn duplicates(body: &[u8]) -> Vec<String> {
    let mut walk = Walk::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    match Step(&mut walk).deserialize(&mut json) {
        Ok(()) => walk.found,
        Err(_) => Vec::new(),
    }
}

/// Where the walk is. A path is only written for a field that occurs twice: a long name can be
/// above many fields.
#[derive(Default)]
struct Walk {
    path: Vec<Segment>,
    found: Vec<String>,
}

enum Segment {
    Field(String),
    Entry(usize),
}

impl Walk {
    fn note(&mut self) {
        if self.found.len() == NAMED_MAX {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(name) if path.is_empty() => path.push_str(cut(name)),
                Segment::Field(name) => path.extend([".", cut(name)]),
                Segment::Entry(index) => path.push_str(&format!("[{index}]")),
            }
        }
        self.found.push(cut(&path).to_owned());
    }
}

/// The beginning of a long text.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(PATH_MAX);
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

struct Step<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let is_known = seen.contains(&name);
            walk.path.push(Segment::Field(name));
            if is_known {
                walk.note();
            }
            map.next_value_seed(Step(walk))?;
            if let Some(Segment::Field(name)) = walk.path.pop() {
                seen.insert(name);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        for index in 0_usize.. {
            walk.path.push(Segment::Entry(index));
            let entry = list.next_element_seed(Step(walk))?;
            walk.path.pop();
            if entry.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_occur_twice_are_named() {
        let body = br#"{"a": 1, "b": [{"c": 1, "c": {"d": 1, "d": null}}], "a": "x"}"#;
        assert_eq!(duplicates(body), ["b[0].c", "b[0].c.d", "a"]);
        assert_eq!(duplicates(br#"{"a": {"a": true}}"#), Vec::<String>::new());
        assert_eq!(duplicates(b"{\"a\": 1, \"a\""), Vec::<String>::new());
    }

    #[test]
    fn a_long_name_above_many_fields_costs_little() {
        let leaves: Vec<_> = (0..50_000).map(|leaf| format!("\"l{leaf}\":1")).collect();
        let name = "x".repeat(1 << 20);
        let body = format!("{{\"{name}\":{{{}}},\"{name}\":1}}", leaves.join(","));
        let started = std::time::Instant::now();
        assert_eq!(duplicates(body.as_bytes()), ["x".repeat(PATH_MAX)]);
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
