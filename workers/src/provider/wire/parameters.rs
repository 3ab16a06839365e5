//! The parameters that only some providers know, each put where its form has it; and what is passed on as it is.

use events::model::Parameters;
use serde_json::{Map, Value, json};

/// `OpenAI`'s own names. Others that speak its form know more of them, or fewer, and say so.
pub(super) fn openai(body: &mut Value, parameters: &Parameters) {
    let Parameters { top_k, frequency_penalty, presence_penalty, reasoning_effort, num_ctx, response_format, .. } =
        parameters;
    let Parameters { tools, tool_choice, parallel_tool_calls, .. } = parameters;
    put(
        body,
        [
            ("top_k", top_k.map(Value::from)),
            ("frequency_penalty", frequency_penalty.map(Value::from)),
            ("presence_penalty", presence_penalty.map(Value::from)),
            ("reasoning_effort", reasoning_effort.as_deref().map(Value::from)),
            ("num_ctx", num_ctx.map(Value::from)),
            ("response_format", response_format.clone()),
            ("tools", (!tools.is_empty()).then(|| json!(tools))),
            ("tool_choice", tool_choice.clone()),
            ("parallel_tool_calls", parallel_tool_calls.map(Value::from)),
        ],
    );
    pass_on(body, &parameters.extra);
}

/// Anthropic has the effort and the form of an answer in `output_config`, and tools in a form of its own.
pub(super) fn anthropic(body: &mut Value, parameters: &Parameters) {
    let mut output = Map::new();
    if let Some(effort) = &parameters.reasoning_effort {
        match effort.as_str() {
            "none" => body["thinking"] = json!({ "type": "disabled" }),
            // The least that it knows.
            "minimal" => _ = output.insert("effort".to_owned(), "low".into()),
            effort => _ = output.insert("effort".to_owned(), effort.into()),
        }
    }
    if let Some(schema) = schema(parameters) {
        output.insert("format".to_owned(), json!({ "type": "json_schema", "schema": schema }));
    }
    let tools: Vec<_> = parameters.tools.iter().map(anthropic_tool).collect();
    put(
        body,
        [
            ("top_k", parameters.top_k.map(Value::from)),
            ("output_config", (!output.is_empty()).then_some(Value::Object(output))),
            ("tools", (!tools.is_empty()).then_some(Value::Array(tools))),
            ("tool_choice", anthropic_choice(parameters)),
        ],
    );
    pass_on(body, &parameters.extra);
}

fn anthropic_tool(tool: &Value) -> Value {
    let Some(function) = tool.get("function") else { return tool.clone() };
    let schema = function.get("parameters").cloned().unwrap_or_else(|| json!({ "type": "object" }));
    let mut tool = json!({ "name": function["name"], "input_schema": schema });
    for name in ["description", "strict"] {
        if let Some(value) = function.get(name) {
            tool[name] = value.clone();
        }
    }
    tool
}

fn anthropic_choice(parameters: &Parameters) -> Option<Value> {
    let mut choice = match &parameters.tool_choice {
        Some(Value::String(word)) if word == "required" => json!({ "type": "any" }),
        Some(Value::String(word)) => json!({ "type": word }),
        Some(choice) => match choice.pointer("/function/name") {
            Some(name) => json!({ "type": "tool", "name": name }),
            None => choice.clone(),
        },
        None if parameters.parallel_tool_calls == Some(false) && !parameters.tools.is_empty() => {
            json!({ "type": "auto" })
        }
        None => return None,
    };
    if parameters.parallel_tool_calls == Some(false) && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

/// Ollama has what steers the model in `options`, the form of an answer in `format`, and the effort in `think`.
pub(super) fn ollama(body: &mut Value, parameters: &Parameters, model: &str) {
    let Parameters { top_k, frequency_penalty, presence_penalty, num_ctx, .. } = parameters;
    let mut options = body.get("options").cloned().unwrap_or_else(|| json!({}));
    put(
        &mut options,
        [
            ("top_k", top_k.map(Value::from)),
            ("frequency_penalty", frequency_penalty.map(Value::from)),
            ("presence_penalty", presence_penalty.map(Value::from)),
            ("num_ctx", num_ctx.map(Value::from)),
        ],
    );
    let mut extra = parameters.extra.clone();
    match extra.shift_remove("options") {
        Some(Value::Object(more)) => pass_on(&mut options, &more),
        Some(other) => options = other,
        None => {}
    }
    let form = parameters.response_format.as_ref().filter(|form| form["type"] == "json_object");
    let think = parameters.reasoning_effort.as_deref().map(|effort| match effort {
        "none" => Value::Bool(false),
        // Other models only know whether.
        _ if !model.contains("gpt-oss") => Value::Bool(true),
        "minimal" | "low" => "low".into(),
        "medium" => "medium".into(),
        _ => "high".into(),
    });
    let is_empty = options.as_object().is_some_and(Map::is_empty);
    put(
        body,
        [
            ("options", (!is_empty).then_some(options)),
            ("format", form.map(|_| "json".into()).or_else(|| schema(parameters).cloned())),
            ("think", think),
            ("tools", (!parameters.tools.is_empty()).then(|| json!(parameters.tools))),
        ],
    );
    pass_on(body, &extra);
}

/// The schema of the answer, where one is wanted.
fn schema(parameters: &Parameters) -> Option<&Value> {
    let form = parameters.response_format.as_ref().filter(|form| form["type"] == "json_schema")?;
    form.pointer("/json_schema/schema")
}

fn put<const N: usize>(body: &mut Value, fields: [(&str, Option<Value>); N]) {
    for (name, value) in fields {
        if let Some(value) = value {
            body[name] = value;
        }
    }
}

/// Objects are added to what is there under their name; anything else takes its place.
fn pass_on(body: &mut Value, extra: &Map<String, Value>) {
    for (name, value) in extra {
        match (&mut body[name], value) {
            (Value::Object(there), Value::Object(more)) => {
                there.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            (place, value) => *place = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Parameters {
        let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
        let schema = json!({"type": "object"});
        let said = json!({
            "top_k": 40, "frequency_penalty": 0.5, "presence_penalty": -0.5, "reasoning_effort": "high", "num_ctx": 8192,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            "tools": [tool, {"type": "web_search", "name": "web_search"}], "tool_choice": "required",
            "parallel_tool_calls": false, "extra": {"verbosity": "low", "output_config": {"x": 1}, "options": {"mirostat": 2}},
        });
        serde_json::from_value(said).unwrap()
    }

    #[test]
    fn each_form_has_them_in_its_place() {
        let said = said();
        let mut body = json!({"model": "m"});
        openai(&mut body, &said);
        assert_eq!(
            body,
            json!({
                "model": "m", "top_k": 40, "frequency_penalty": 0.5, "presence_penalty": -0.5, "reasoning_effort": "high",
                "num_ctx": 8192, "response_format": said.response_format, "tools": said.tools, "tool_choice": "required",
                "parallel_tool_calls": false, "verbosity": "low", "output_config": {"x": 1}, "options": {"mirostat": 2},
            })
        );
        let mut body = json!({"model": "m"});
        anthropic(&mut body, &said);
        assert_eq!(
            body,
            json!({
                "model": "m", "top_k": 40,
                "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}, "x": 1},
                "tools": [{"name": "f", "input_schema": {"type": "object"}, "description": "d"},
                          {"type": "web_search", "name": "web_search"}],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
                "verbosity": "low", "options": {"mirostat": 2},
            })
        );
        let mut body = json!({"model": "m", "options": {"seed": 7}});
        ollama(&mut body, &said, "qwen3");
        assert_eq!(
            body,
            json!({
                "model": "m", "format": {"type": "object"}, "think": true, "tools": said.tools,
                "options": {"seed": 7, "top_k": 40, "frequency_penalty": 0.5, "presence_penalty": -0.5, "num_ctx": 8192,
                            "mirostat": 2},
                "verbosity": "low", "output_config": {"x": 1},
            })
        );
        let mut body = json!({});
        ollama(&mut body, &said, "gpt-oss:20b");
        assert_eq!(body["think"], "high");
    }

    #[test]
    fn what_was_not_said_is_not_sent() {
        let nothing = Parameters::default();
        let mut body = json!({});
        openai(&mut body, &nothing);
        anthropic(&mut body, &nothing);
        ollama(&mut body, &nothing, "m");
        assert_eq!(body, json!({}));
    }
}
