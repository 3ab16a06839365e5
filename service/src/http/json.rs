//! Reading JSON that a stranger wrote: nesting bounded while it is read, NUL and doubled keys found, the place of each told.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Faults, Problem, integers, pointer};

/// How deep arrays and objects may stand in each other below the body's own object.
pub const MAX_DEPTH: usize = 64;

/// Parses a body. Syntax errors are a 400 with line and column; what is JSON but cannot be taken goes to `faults`.
pub fn parse(bytes: &[u8], faults: &mut Faults) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Place { at: At::Root, depth: 0, faults: &mut *faults }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| {
        let place = format!("the body is not JSON, from line {}, column {}", error.line(), error.column());
        Problem::malformed("malformed_json", place)
    })?;
    integers::check(bytes, faults);
    Ok(value)
}

/// The same JSON in one form: keys sorted, no blanks. Two bodies that mean the same have the same bytes.
pub fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, value) in fields {
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}

/// Where in the body reading is. The pointer is only written out for a fault: a megabyte can hold half a million places.
#[derive(Clone, Copy)]
enum At<'p> {
    Root,
    Key(&'p At<'p>, &'p str),
    Index(&'p At<'p>, usize),
}

impl At<'_> {
    fn pointer(&self) -> String {
        match self {
            At::Root => String::new(),
            At::Key(parent, key) => pointer::child(&parent.pointer(), key),
            At::Index(parent, index) => pointer::child(&parent.pointer(), &index.to_string()),
        }
    }
}

/// One value at one place. `depth` counts the arrays and objects around it.
struct Place<'p, 'f> {
    at: At<'p>,
    depth: usize,
    faults: &'f mut Faults,
}

impl Place<'_, '_> {
    fn text(&mut self, text: &str) {
        if text.contains('\0') {
            self.faults.push(self.at.pointer(), "must not contain U+0000");
        }
    }

    /// What stands too deep is passed over without recursion (`IgnoredAny` of `serde_json` is a loop).
    fn too_deep(&mut self) -> bool {
        let deep = self.depth > MAX_DEPTH;
        if deep {
            self.faults.push(self.at.pointer(), format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        deep
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Value, E> {
        self.text(value);
        Ok(value.into())
    }

    fn visit_string<E>(mut self, value: String) -> Result<Value, E> {
        self.text(&value);
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut array = Vec::new();
        loop {
            let at = At::Index(&self.at, array.len());
            let place = Place { at, depth: self.depth + 1, faults: &mut *self.faults };
            match items.next_element_seed(place)? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let at = At::Key(&self.at, &key);
            if key.contains('\0') {
                self.faults.push(at.pointer(), "a key must not contain U+0000");
            }
            if object.contains_key(&key) {
                self.faults.push(at.pointer(), "is given more than once");
            }
            let place = Place { at, depth: self.depth + 1, faults: &mut *self.faults };
            let value = fields.next_value_seed(place)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut faults = Faults::new();
        parse(text.as_bytes(), &mut faults).expect("JSON");
        match faults.into_result() {
            Ok(()) => Vec::new(),
            Err(problem) => {
                problem.errors().iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
            }
        }
    }

    fn nested(levels: usize) -> String {
        format!(r#"{{"variables":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn a_field_may_nest_64_levels_and_no_more() {
        assert_eq!(faults(&nested(64)), Vec::<String>::new());
        let told = faults(&nested(65));
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("/variables/0/0/") && told[0].ends_with("deeper than 64 levels"));
    }

    #[test]
    fn half_a_megabyte_of_brackets_is_read_without_recursion() {
        assert_eq!(faults(&nested(250_000)).len(), 1);
    }

    #[test]
    fn nul_is_found_in_strings_and_keys_with_its_place() {
        let told = faults(r#"{"a":["x","\u0000"],"b\u0000/~":1}"#);
        assert_eq!(told, ["/a/1 must not contain U+0000", "/b\u{FFFD}~1~0 a key must not contain U+0000"]);
    }

    #[test]
    fn an_integer_that_would_be_rounded_is_a_fault() {
        let told = faults(r#"{"variables":{"ids":[18446744073709551615,18446744073709551616]}}"#);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("/variables/ids/1 is an integer of more than 64 bits"), "{told:?}");
    }

    #[test]
    fn a_doubled_key_is_a_fault() {
        assert_eq!(faults(r#"{"a":1,"a":2}"#), ["/a is given more than once"]);
    }

    #[test]
    fn syntax_errors_tell_the_place_and_not_the_text() {
        let problem = parse(b"{\n \"password\": hunter2}", &mut Faults::new()).expect_err("no JSON");
        assert_eq!(problem.to_string(), "400 malformed_json: the body is not JSON, from line 2, column 14");
    }

    #[test]
    fn the_order_of_keys_does_not_change_the_canonical_form() {
        let bytes = |text: &str| {
            let mut out = Vec::new();
            canonical(&parse(text.as_bytes(), &mut Faults::new()).expect("JSON"), &mut out);
            out
        };
        assert_eq!(
            bytes(r#"{"a":[1,{"x":null,"y":2.5}],"b":"c"}"#),
            bytes(r#"{ "b":"c", "a":[1,{"y":2.5,"x":null}] }"#)
        );
        assert_ne!(bytes(r#"{"a":["b","c"]}"#), bytes(r#"{"a":["bc"]}"#));
    }
}
