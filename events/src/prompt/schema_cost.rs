//! What a JSON Schema may cost to check: references can make a small schema expand without end.

use std::collections::HashMap;

use serde_json::Value;

/// How many checks a schema comes to with all its references followed, at most; or why nobody can say.
///
/// References lead to a place in the same schema (`#/…`), never in a circle, and not through one another without end: whoever
/// follows them needs a frame for each.
pub(super) fn checks(schema: &Value) -> Result<u64, String> {
    Expansion { root: schema, known: HashMap::new(), open: Vec::new(), depth: 0 }.of(schema)
}

/// How many values there are in a document.
pub(super) fn values(document: &Value) -> u64 {
    match document {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

/// How deep a schema may be with its references followed.
const DEPTH: usize = 128;

struct Expansion<'a> {
    root: &'a Value,
    depth: usize,
    known: HashMap<&'a str, u64>,
    open: Vec<&'a str>,
}

impl<'a> Expansion<'a> {
    fn of(&mut self, node: &'a Value) -> Result<u64, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("is more than {DEPTH} levels deep with its references followed"));
        }
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
        self.depth -= 1;
        Ok(sum)
    }

    fn follow(&mut self, to: &'a str) -> Result<u64, String> {
        if let Some(known) = self.known.get(to) {
            return Ok(*known);
        }
        let refuse = |why: &str| Err(format!("the reference `{to}` {why}"));
        // One spelling each: what is written otherwise would be looked for here in another place than it is found in.
        if to.contains('%') {
            return refuse("has a `%`: write names as they are");
        }
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
