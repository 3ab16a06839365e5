//! Optional variables that were left out, where their schema says what they are then (`default`).

use serde_json::{Map, Value};

/// The variables with the defaults of their schema, also within objects that were given; none where nothing was added. What
/// has no default stays away: a template can ask for it with `is defined` or `default`.
pub(super) fn fill(schema: &Value, variables: &Value) -> Option<Value> {
    let mut given = variables.as_object()?.clone();
    let added = fill_object(schema, &mut given);
    added.then_some(Value::Object(given))
}

/// The recursion is as deep as the variables are nested, which is bounded. Whether anything was added.
fn fill_object(schema: &Value, given: &mut Map<String, Value>) -> bool {
    let mut added = false;
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        match given.get_mut(name) {
            Some(Value::Object(fields)) => added |= fill_object(property, fields),
            Some(_) => {}
            None => {
                if let Some(default) = property.get("default") {
                    given.insert(name.clone(), default.clone());
                    added = true;
                }
            }
        }
    }
    added
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fill;

    #[test]
    fn what_was_left_out_is_filled_in_and_what_was_given_stays() {
        let schema = json!({"properties": {
            "a": {"default": "A"}, "b": {"type": "string"}, "c": {"properties": {"d": {"default": [1]}, "e": {"default": 2}}},
            "f": {"properties": {"g": {"default": 1}}}, "h": true,
        }});
        assert_eq!(fill(&schema, &json!({"c": {"e": null}})), Some(json!({"a": "A", "c": {"e": null, "d": [1]}})));
        assert_eq!(fill(&schema, &json!({"a": "", "c": {"d": 0, "e": 0}})), None);
        assert_eq!(fill(&json!(true), &json!({})), None);
    }
}
