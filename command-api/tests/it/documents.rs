//! What the role says of itself.

use poem::{Endpoint as _, Request};
use serde_json::{Value, json};

use super::house::{Told, house};

async fn document(path: &str) -> Value {
    let told = Told::of(house().await.app.get_response(Request::builder().uri_str(path).finish()).await).await;
    assert_eq!(told.status, 200);
    told.body
}

#[tokio::test]
async fn every_command_is_documented_with_its_limits_and_headers() {
    let document = document("/openapi.json").await;
    let operations = document["paths"].as_object().unwrap().iter();
    let operations =
        operations.flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |of| (path, of)));
    let mut told = String::new();
    for (path, (method, operation)) in operations {
        let success =
            operation["responses"].as_object().unwrap().keys().find(|status| status.starts_with('2')).unwrap();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let parameters: Vec<_> = parameters.map(|of| of["name"].as_str().unwrap().to_lowercase()).collect();
        let open = operation["security"].as_array().is_none_or(Vec::is_empty);
        let who = if open { "anyone" } else { "bearer" };
        told += [method, path.as_str(), success, who, &parameters.join(", ")].join(" ").trim_end();
        told += "\n";
    }
    insta::assert_snapshot!(told, @r"
    post /api/v1/auth/register 201 anyone idempotency-key
    post /api/v1/auth/login 200 anyone
    post /api/v1/auth/refresh 200 anyone
    post /api/v1/auth/logout 200 bearer
    delete /api/v1/auth/sessions/{id} 200 bearer id
    post /api/v1/auth/password/change 200 bearer
    post /api/v1/expert-prompts 201 bearer idempotency-key
    patch /api/v1/expert-prompts/{id} 200 bearer idempotency-key, if-match, id
    post /api/v1/expert-prompts/{id}/archive 200 bearer idempotency-key, if-match, id
    post /api/v1/execute-prompt/{prompt_id} 202 bearer idempotency-key, prompt_id
    post /api/v1/executions/{id}/cancel 202 bearer idempotency-key, if-match, id
    post /api/v1/executions/{id}/resolve 202 bearer idempotency-key, if-match, id
    post /api/v1/executions/{id}/retry 202 bearer idempotency-key, id
    post /api/v1/executions/{id}/redrive 202 bearer idempotency-key, id
    post /api/v1/executions/redrive 200 bearer idempotency-key, dead, status, prompt_id, dry_run
    post /api/v1/executions/{id}/discard 200 bearer idempotency-key, id
    post /api/v1/projections/{name}/rebuild 202 bearer idempotency-key, name
    get /asyncapi.json 200 anyone
    post /api/v1/specialties 201 bearer idempotency-key
    patch /api/v1/specialties/{id} 200 bearer idempotency-key, if-match, id
    post /api/v1/specialties/{id}/archive 200 bearer idempotency-key, if-match, id
    post /api/v1/sub-specialties 201 bearer idempotency-key
    patch /api/v1/sub-specialties/{id} 200 bearer idempotency-key, if-match, id
    post /api/v1/sub-specialties/{id}/archive 200 bearer idempotency-key, if-match, id
    post /api/v1/companies 201 bearer idempotency-key
    patch /api/v1/companies/{id} 200 bearer idempotency-key, if-match, id
    post /api/v1/companies/{id}/archive 200 bearer idempotency-key, if-match, id
    patch /api/v1/companies/{id}/settings 200 bearer idempotency-key, if-match, id
    patch /api/v1/companies/{id}/members/{part} 200 bearer idempotency-key, if-match, id, part
    delete /api/v1/companies/{id}/members/{part} 200 bearer idempotency-key, if-match, id, part
    post /api/v1/items 201 bearer idempotency-key
    patch /api/v1/items/{id} 200 bearer idempotency-key, if-match, id
    post /api/v1/items/{id}/archive 200 bearer idempotency-key, if-match, id
    ");
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Registration"]["properties"]["email"]["maxLength"], 254);
    assert_eq!(schemas["NewSpecialty"]["properties"]["name"]["maxLength"], 100);
    assert_eq!(schemas["NewPrompt"]["additionalProperties"], false);
    assert_eq!(schemas["Parameters"]["additionalProperties"], false);
}

#[tokio::test]
async fn the_events_are_documented() {
    let document = document("/asyncapi.json").await;
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(document["channels"]["events"]["address"], "events.{scope}.{stream}.{id}.{kind}");
    let message = &document["components"]["messages"]["prompt_revised"];
    assert_eq!(
        message["headers"]["allOf"][1]["properties"]["ce-type"],
        json!({ "const": "daybook.prompt.prompt_revised.v1" })
    );
}

#[tokio::test]
async fn every_context_has_commands_in_the_document() {
    let document = document("/openapi.json").await;
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let tags: Vec<String> =
        operations.filter_map(|operation| operation["tags"][0].as_str()).map(str::to_lowercase).collect();
    for context in events::CONTEXTS.0 {
        // A session is opened and closed by what a user does under /auth.
        let name = if context.name == "session" { "identity" } else { context.name };
        assert!(tags.iter().any(|tag| tag == name), "no command of {} is documented: {tags:?}", context.name);
    }
}
