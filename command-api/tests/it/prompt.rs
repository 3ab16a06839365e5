//! Writing prompts.

use events::{execution::Execution, prompt::Prompt};
use futures_util::future::join_all;
use poem::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{Actor, Told, house, table};

#[tokio::test]
async fn parameters_are_kept_as_they_were_said_or_named() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let with = async |parameters: Value| user.prompt(sub_specialty, |body| body["parameters"] = parameters).await;
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let all = json!({
        "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "top_k": 40,
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "reasoning_effort": "high", "num_ctx": 8192,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "tools": [tool], "tool_choice": "auto", "parallel_tool_calls": false, "extra": {"verbosity": "low"},
        "limits": {"first_byte_seconds": 300, "idle_seconds": 120, "total_seconds": 900},
    });
    let said = with(all.clone()).await;
    let prompt = house.store.load::<Prompt>(said.id()).await.unwrap().aggregate;
    let kept = &prompt.revisions[0];
    assert_eq!(serde_json::to_value(&kept.parameters).unwrap(), all);
    assert_eq!(kept.policy.deadline_seconds, 900, "as long as a call may take");
    // The messages are sent, and stand once in what is sent.
    let run = json!({ "variables": { "topic": "tea" } });
    let run = user.post(&format!("/execute-prompt/{}", said.id()), run).await;
    let request = house.store.load::<Execution>(run.id()).await.unwrap().aggregate.request.unwrap();
    assert_eq!(request.messages.iter().map(|message| message.content.as_str()).take(2).collect::<Vec<_>>(), ["Q", "A"]);
    assert_eq!((request.messages.len(), request.parameters.messages.len(), request.parameters.top_k), (3, 0, Some(40)));
    let rows = [
        ("all of them", said),
        ("passed on", with(json!({ "extra": { "logit_bias": { "x": 1 } } })).await),
        ("ours", with(json!({ "extra": { "stream": false, "top_k": 1 } })).await),
        (
            "out of bounds",
            with(json!({ "top_k": 0, "reasoning_effort": "a lot", "limits": { "idle_seconds": 0 } })).await,
        ),
        ("roles", with(json!({ "messages": [{ "role": "tool", "content": "x" }] })).await),
        (
            "too long",
            user.prompt(sub_specialty, |body| {
                body["parameters"] = json!({ "limits": { "total_seconds": 900 } });
                body["policy"] = json!({ "deadline_seconds": 899 });
            })
            .await,
        ),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    all of them: 201 /api/v1/expert-prompts/{id} version 1
    passed on: 201 /api/v1/expert-prompts/{id} version 1
    ours: 422 invalid_prompt: the prompt is not valid
        /parameters/extra/stream is not to be set here
        /parameters/extra/top_k is a parameter of its own: set it beside extra
    out of bounds: 422 invalid_prompt: the prompt is not valid
        /parameters/top_k is not between 1 and 1000
        /parameters/reasoning_effort is not one of none, minimal, low, medium, high, xhigh, max
        /parameters/limits/idle_seconds is not between 1 and 3600
    roles: 422 invalid_request: the request has faults, see errors
        /parameters/messages/0/role must be one of ["system","user","assistant"]
    too long: 422 invalid_prompt: the prompt is not valid
        /parameters/limits/total_seconds is longer than the policy's deadline_seconds, 899: raise that, too
    "#);
}

#[tokio::test]
async fn prompts_and_what_is_wrong_with_them() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let set = async |name: &str, value: Value| user.prompt(sub_specialty, |body| body[name] = value).await;
    let rows = [
        ("good", user.prompt(sub_specialty, |_| {}).await),
        ("by nobody", house.anon().prompt(sub_specialty, |_| {}).await),
        ("no such place", user.prompt(Uuid::nil(), |_| {}).await),
        ("unknown variable", set("content", json!("Explain\n{{ subject }}.")).await),
        ("no template", set("content", json!("{% if %}")).await),
        ("deep", set("content", json!(format!("Explain\n{{{{ {}1 }}}}", "-".repeat(1000)))).await),
        ("long", set("content", json!(format!("{{{{ topic{} }}}}", "|e".repeat(1000)))).await),
        ("elifs", set("content", json!(format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(5000)))).await),
        ("no schema", set("variables", json!({ "type": "array" })).await),
        ("remote schema", set("variables", json!({ "type": "object", "$ref": "http://127.0.0.1:9/" })).await),
        ("100 levels", set("variables", nested(json!({ "type": "object" }), 100)).await),
        ("40 levels", set("variables", nested(json!({ "type": "object" }), 40)).await),
        ("NUL", set("content", json!("a\0b")).await),
        ("unknown parameter", set("parameters", json!({ "temperature": 0.5, "presence": 1 })).await),
        ("parameters out of bounds", set("parameters", json!({ "temperature": 9, "max_tokens": 0 })).await),
        ("parameters of other types", set("parameters", json!({ "temperature": "hot", "stop": "." })).await),
        (
            "all faults at once",
            user.prompt(Uuid::nil(), |body| {
                body["title"] = json!(" ");
                body["llm_provider"] = json!("skynet");
                body["model"] = json!("\n");
                body["content"] = json!("{{ subject }}");
            })
            .await,
        ),
        ("nothing", user.post("/expert-prompts", json!({})).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    good: 201 /api/v1/expert-prompts/{id} version 1
    by nobody: 401 unauthorized: a valid bearer token is needed
    no such place: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
    unknown variable: 422 invalid_prompt: the prompt is not valid
        /content line 2: `subject` is not a variable of the schema
    no template: 422 invalid_prompt: the prompt is not valid
        /content line 1: syntax error: unexpected end of block
    deep: 422 invalid_prompt: the prompt is not valid
        /content line 2: an expression of more than 200 operators, filters and brackets in a row or in one another
    long: 422 invalid_prompt: the prompt is not valid
        /content line 1: an expression of more than 200 operators, filters and brackets in a row or in one another
    elifs: 422 invalid_prompt: the prompt is not valid
        /content line 1: more than 100 statements in one another, or `elif`s of one `if`
    no schema: 422 invalid_prompt: the prompt is not valid
        /variables/type is not "object"
    remote schema: 422 invalid_prompt: the prompt is not valid
        /variables the reference `http://127.0.0.1:9/` leads nowhere in the schema
    100 levels: 422 invalid_request: the request has faults, see errors
        /variables/properties/deep/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not/not is nested deeper than 64 levels
    40 levels: 422 invalid_prompt: the prompt is not valid
        /variables is nested more than 32 levels deep
    NUL: 422 invalid_request: the request has faults, see errors
        /content must not contain U+0000
    unknown parameter: 422 invalid_request: the request has faults, see errors
        /parameters/presence is not a field of this
    parameters out of bounds: 422 invalid_prompt: the prompt is not valid
        /parameters/temperature is not between 0 and 2
        /parameters/max_tokens is not between 1 and 1000000
    parameters of other types: 422 invalid_request: the request has faults, see errors
        /parameters/temperature must be a number
        /parameters/stop must be an array
    all faults at once: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
        /title is blank
        /llm_provider is not one of openai, anthropic, groq, deepseek, openrouter, ollama, echo
        /model is not 1 to 100 printable characters
        /content line 1: `subject` is not a variable of the schema
    nothing: 422 invalid_request: the request has faults, see errors
        /sub_specialty_id is missing
        /title is missing
        /content is missing
        /variables is missing
        /llm_provider is missing
        /model is missing
        /is_public is missing
    "#);
}

fn nested(mut schema: Value, levels: usize) -> Value {
    let mut inner = json!({});
    for _ in 0..levels {
        inner = json!({ "not": inner });
    }
    schema["properties"] = json!({ "deep": inner });
    schema
}

async fn revise(actor: &Actor, id: Uuid, version: Option<&str>, body: Value) -> Told {
    let request = actor.request(Method::PATCH, &format!("/expert-prompts/{id}")).content_type("application/json");
    let request = version.into_iter().fold(request, |request, version| request.header("if-match", version));
    actor.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_revision_is_a_new_version_by_the_owner() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let private = user.prompt(sub_specialty, |_| {}).await.id();
    let public = user.prompt(sub_specialty, |body| body["is_public"] = json!(true)).await.id();
    let title = json!({ "title": "Other" });
    let rows = [
        ("any version", revise(&user, private, None, title.clone()).await),
        ("the version", revise(&user, private, Some("\"2\""), title.clone()).await),
        ("a stale version", revise(&user, private, Some("\"2\""), title.clone()).await),
        ("no version", revise(&user, private, Some("2"), title.clone()).await),
        ("nothing to change", revise(&user, private, None, json!({ "title": null })).await),
        ("a field taken away", revise(&user, private, None, json!({ "title": "T", "model": null })).await),
        ("a change that breaks it", revise(&user, private, None, json!({ "content": "{{ gone }}" })).await),
        ("no such place", revise(&user, private, None, json!({ "sub_specialty_id": Uuid::nil() })).await),
        ("another's private one", revise(&admin, private, None, title.clone()).await),
        ("another's private one, stale", revise(&admin, private, Some("\"1\""), title.clone()).await),
        ("another's public one", revise(&admin, public, None, title.clone()).await),
        ("none", revise(&user, Uuid::nil(), None, title.clone()).await),
        ("bad id", user.patch("/expert-prompts/seven", title.clone()).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    any version: 200 /api/v1/expert-prompts/{id} version 2
    the version: 200 /api/v1/expert-prompts/{id} version 3
    a stale version: 412 stale_version: the thing has another version than If-Match names
    no version: 400 malformed_if_match: If-Match must be the version in quotes, as in If-Match: "3", or the ETag of the thing itself
    nothing to change: 422 invalid_request: the request has faults, see errors
         names nothing to be changed
    a field taken away: 422 invalid_request: the request has faults, see errors
        /model cannot be taken away: leave it out, or give another
    a change that breaks it: 422 invalid_prompt: the prompt is not valid
        /content line 1: `gone` is not a variable of the schema
    no such place: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
    another's private one: 404 not_found: there is no such prompt
    another's private one, stale: 404 not_found: there is no such prompt
    another's public one: 403 not_owner: only its owner may change a prompt
    none: 404 not_found: there is no such prompt
    bad id: 422 invalid_parameter: parameter `id` is at fault
        /id is not of the documented form
    "#);
}

/// A template of twelve thousand names that its schema lacks.
#[tokio::test]
async fn a_template_with_everything_wrong_stalls_nobody() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let content: String = (0..12_000).map(|n| format!("{{{{a{n}}}}}")).collect();
    assert!(content.len() < 131_072);
    // What takes more than four seconds is a 503.
    let wrong = user.prompt(sub_specialty, |body| body["content"] = json!(content));
    let (wrong, fine) = tokio::join!(wrong, user.prompt(sub_specialty, |_| {}));
    assert_eq!((wrong.status.as_u16(), fine.status.as_u16()), (422, 201));
    assert_eq!(wrong.body["errors"].as_array().map(Vec::len), Some(50), "the first of them are named");
}

/// All versions of a prompt are read when it is run: whoever runs a large one too often at once waits, and then hears so; another
/// does neither.
#[tokio::test]
async fn whoever_runs_a_large_prompt_often_at_once_keeps_nobody_else_waiting() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let (greedy, other) = (house.user("greedy").await, house.user("other").await);
    let large = greedy.prompt(sub_specialty, |body| body["content"] = json!("x".repeat(130_000))).await.id();
    for version in 1..4 {
        let path = format!("/expert-prompts/{large}");
        let told = greedy.patch(&path, json!({ "content": format!("{version}{}", "x".repeat(130_000)) })).await;
        assert_eq!(told.status, 200, "{}", told.body);
    }
    let small = other.prompt(sub_specialty, |_| {}).await.id();
    let run = json!({ "variables": { "topic": "tea" } });
    let path = format!("/execute-prompt/{large}");
    let many = join_all((0..200).map(|_| greedy.post(&path, run.clone())));
    let path = format!("/execute-prompt/{small}");
    let (many, one) = tokio::join!(biased; many, other.post(&path, run.clone()));
    assert_eq!(one.status, 202, "{}", one.body);
    let refused: Vec<_> = many.iter().filter(|told| told.status == 429).collect();
    assert!(!refused.is_empty() && refused.iter().all(|told| told.body["code"] == "too_many_at_once"));
    assert!(refused.iter().all(|told| told.header("retry-after") == Some("2")));
    assert!(many.iter().any(|told| told.status == 202));
}

#[tokio::test]
async fn the_tag_that_reading_gave_is_a_condition() {
    let house = house().await;
    let (user, sub_specialty) = house.furnished().await;
    let prompt = user.prompt(sub_specialty, |_| {}).await.id();
    let hash = "0123456789abcdef".repeat(2);
    let revised =
        async |tag: String| revise(&user, prompt, Some(&tag), json!({ "title": "Other" })).await.status.as_u16();
    assert_eq!(revised(format!("W/\"1-{hash}\"")).await, 200);
    assert_eq!(revised(format!("W/\"1-{hash}\"")).await, 412, "it is version 2 now");
    assert_eq!(revised(format!("\"2-{hash}\"")).await, 200);
    assert_eq!(revised(format!("W/\"{hash}\"")).await, 400, "of a list");
}

#[tokio::test]
async fn an_archived_prompt_is_not_executed_and_stays_as_it_is() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let (owner, other) = (house.user("owner").await, house.user("other").await);
    let public = owner.prompt(sub_specialty, |body| body["is_public"] = true.into()).await.id();
    let private = owner.prompt(sub_specialty, |_| ()).await.id();
    let archive = |id: Uuid| format!("/expert-prompts/{id}/archive");
    let run = || json!({ "variables": { "topic": "tea" } });
    let ended = owner.post(&format!("/execute-prompt/{public}"), run()).await.id();
    owner.post(&format!("/executions/{ended}/cancel"), json!({})).await;
    let rows = [
        ("another's", other.post(&archive(public), json!({})).await),
        ("another's private one", other.post(&archive(private), json!({})).await),
        ("an admin", admin.post(&archive(public), json!({})).await),
        ("none", owner.post(&archive(Uuid::nil()), json!({})).await),
        ("with more", owner.post(&archive(public), json!({ "a": 1 })).await),
        ("archived", owner.post(&archive(public), json!({})).await),
        ("again", owner.post(&archive(public), json!({})).await),
        ("run", owner.post(&format!("/execute-prompt/{public}"), run()).await),
        ("run by another", other.post(&format!("/execute-prompt/{public}"), run()).await),
        ("retried", owner.post(&format!("/executions/{ended}/retry"), json!({})).await),
        ("revised", owner.patch(&format!("/expert-prompts/{public}"), json!({ "title": "New" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    another's: 403 not_owner: only its owner may change a prompt
    another's private one: 404 not_found: there is no such prompt
    an admin: 403 not_owner: only its owner may change a prompt
    none: 404 not_found: there is no such prompt
    with more: 422 invalid_request: the request has faults, see errors
        /a is not a field of this
    archived: 200 /api/v1/expert-prompts/{id} version 2
    again: 200 /api/v1/expert-prompts/{id} version 2
    run: 409 archived: the prompt is archived: it is not executed any more
    run by another: 409 archived: the prompt is archived: it is not executed any more
    retried: 409 archived: the prompt is archived: it is not executed any more
    revised: 409 illegal_transition: the prompt is archived, which allows nothing any more
    ");
}

#[tokio::test]
async fn what_is_requested_while_its_prompt_is_archived_comes_before_that_or_not_at_all() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let owner = house.user("owner").await;
    for _ in 0..5 {
        let id = owner.prompt(sub_specialty, |_| ()).await.id();
        let (execute, archive) = (format!("/execute-prompt/{id}"), format!("/expert-prompts/{id}/archive"));
        let runs = join_all((0..8).map(|_| owner.post(&execute, json!({ "variables": { "topic": "tea" } }))));
        let (runs, archived) = futures_util::join!(runs, owner.post(&archive, json!({})));
        assert_eq!(archived.status, 200);
        let events = house.store.after(0, 1_000).await.unwrap();
        let since = events.iter().skip_while(|event| event.id != id || event.kind != "prompt_archived");
        assert_eq!(since.filter(|event| event.kind == "execution_requested").count(), 0);
        for refused in runs.iter().filter(|run| run.status != 202) {
            assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("archived")));
        }
    }
}

#[tokio::test]
async fn a_prompt_stands_in_no_archived_sub_specialty() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let before = user.prompt(sub_specialty, |_| ()).await.id();
    admin.post(&format!("/sub-specialties/{sub_specialty}/archive"), json!({})).await;
    let path = format!("/expert-prompts/{before}");
    let rows = [
        ("made", user.prompt(sub_specialty, |_| ()).await),
        ("made with another fault", user.prompt(sub_specialty, |body| body["title"] = " ".into()).await),
        ("revised to it", user.patch(&path, json!({ "sub_specialty_id": sub_specialty })).await),
        ("revised", user.patch(&path, json!({ "title": "It stays where it stood" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    made: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
    made with another fault: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
        /title is blank
    revised to it: 422 invalid_prompt: the prompt is not valid
        /sub_specialty_id there is no such sub-specialty
    revised: 200 /api/v1/expert-prompts/{id} version 2
    ");
}
