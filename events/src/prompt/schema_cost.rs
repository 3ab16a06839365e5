//! What a JSON Schema may cost to check: references can make a small schema expand without end.

use std::collections::HashMap;

use serde_json::Value;

/// How many checks a schema comes to with all its references followed, at most; or why nobody can say.
///
/// References lead to a place in the same schema (`#/…`), and never in a circle.
pub(super) fn checks(schema: &Value) -> Result<u64, String> {
    Expansion { root: schema, known: HashMap::new(), open: Vec::new() }.of(schema)
}

/// How many values there are in a document.
pub(super) fn values(document: &Value) -> u64 {
    match document {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

struct Expansion<'a> {
    root: &'a Value,
    known: HashMap<&'a str, u64>,
    open: Vec<&'a str>,
}

impl<'a> Expansion<'a> {
    fn of(&mut self, node: &'a Value) -> Result<u64, String> {
        let mut sum: u64 = 1;
        match node {
            Value::Array(items) => {
                for item in items {
                    sum = sum.saturating_add(self.of(item)?);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let more = match (name.as_str(), value.as_str()) {
                        ("$ref", Some(to)) => self.follow(to)?,
                        ("$dynamicRef" | "$recursiveRef", _) => return Err(format!("`{name}` is not available")),
                        ("$id" | "id", Some(_)) if !std::ptr::eq(node, self.root) => {
                            return Err(format!("`{name}` is not available within a schema"));
                        }
                        _ => self.of(value)?,
                    };
                    sum = sum.saturating_add(more);
                }
            }
            _ => {}
        }
        Ok(sum)
    }

    fn follow(&mut self, to: &'a str) -> Result<u64, String> {
        if let Some(known) = self.known.get(to) {
            return Ok(*known);
        }
        let refuse = |why: &str| Err(format!("the reference `{to}` {why}"));
        let Some(target) = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            return refuse("leads nowhere in the schema");
        };
        if self.open.contains(&to) {
            return refuse("leads to itself");
        }
        self.open.push(to);
        let checks = self.of(target)?;
        self.open.pop();
        self.known.insert(to, checks);
        Ok(checks)
    }
}
