//! Running prompts, cancelling and retrying.

use events::{
    Meta, clock, execute,
    execution::{Bill, Calling, Command, Execution, Failed, FailureClass, Holder, Wire},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{House, house, table};

/// What a worker says of the execution.
async fn work(house: &House, id: Uuid, command: Command) {
    let meta = Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None };
    execute::<Execution>(&house.store, id, command, meta).await.unwrap();
}

const HOLDER: Holder = Holder { attempt: 1, token: Uuid::from_u128(1) };

fn start() -> Command {
    Command::Start { holder: HOLDER, worker: "w".into(), lease_ms: 15_000, calling: Calling::default() }
}

fn failure() -> Command {
    let (code, detail) = ("provider".to_owned(), "it failed".to_owned());
    let (class, wire) = (FailureClass::Permanent, Wire::default());
    let failed = Failed { class, code, detail, wire, retry_after_ms: None };
    Command::Fail { holder: HOLDER, failed, bill: Bill::default(), jitter: 0.0 }
}

#[tokio::test]
async fn executions_and_what_is_wrong_with_them() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let (user, other) = (house.user("user").await, house.user("other").await);
    let private = user.prompt(sub_specialty, |_| {}).await.id();
    let public = user.prompt(sub_specialty, |body| body["is_public"] = json!(true)).await.id();
    let endless = |body: &mut Value| {
        body["content"] = json!("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}");
    };
    let endless = user.prompt(sub_specialty, endless).await.id();
    let starving = |body: &mut Value| {
        body["content"] = json!("{{ range(20000)|select('in', range(20000,40000)|list)|list|length }}");
    };
    let starving = user.prompt(sub_specialty, starving).await.id();
    let path = |id: Uuid| format!("/execute-prompt/{id}");
    let good = json!({ "variables": { "topic": "tea" } });
    let deep = (0..40).fold(json!("tea"), |inner, _| json!([inner]));
    let rows = [
        ("own", user.post(&path(private), good.clone()).await),
        ("public", other.post(&path(public), good.clone()).await),
        ("by an admin", admin.post(&path(private), good.clone()).await),
        ("another's private one", other.post(&path(private), good.clone()).await),
        ("none", user.post(&path(Uuid::nil()), good.clone()).await),
        ("by nobody", house.anon().post(&path(public), good.clone()).await),
        ("by a user of another log", {
            let stranger = super::house::house().await.user("stranger").await;
            stranger.at(&house).post(&path(public), good.clone()).await
        }),
        ("no variables", user.post(&path(private), json!({})).await),
        ("wrong variables", user.post(&path(private), json!({ "variables": { "topic": 7 } })).await),
        ("no object", user.post(&path(private), json!({ "variables": ["tea"] })).await),
        ("deep variables", user.post(&path(private), json!({ "variables": { "topic": deep } })).await),
        ("no such version", user.post(&path(private), json!({ "variables": { "topic": "tea" }, "version": 2 })).await),
        ("NUL", user.post(&path(private), json!({ "variables": { "topic": "a\0b" } })).await),
        ("too much", user.post(&path(private), json!({ "variables": { "topic": "x".repeat(200_000) } })).await),
        ("endless", user.post(&path(endless), good.clone()).await),
        ("starving", user.post(&path(starving), good.clone()).await),
        ("unknown field", user.post(&path(private), json!({ "variables": { "topic": "tea" }, "model": "x" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    own: 202 /api/v1/executions/{id} version 1
    public: 202 /api/v1/executions/{id} version 1
    by an admin: 202 /api/v1/executions/{id} version 1
    another's private one: 404 not_found: there is no such prompt
    none: 404 not_found: there is no such prompt
    by nobody: 401 unauthorized: a valid bearer token is needed
    by a user of another log: 401 unauthorized: a valid bearer token is needed
    no variables: 422 invalid_variables: the variables do not fit the prompt
        /variables/topic is missing
    wrong variables: 422 invalid_variables: the variables do not fit the prompt
        /variables/topic value is not of type "string"
    no object: 422 invalid_variables: the variables do not fit the prompt
        /variables value is not of type "object"
    deep variables: 422 invalid_variables: the variables do not fit the prompt
        /variables is nested more than 32 levels deep
    no such version: 422 no_such_version: the prompt has no such version
        /version the prompt has no such version
    NUL: 422 invalid_request: the request has faults, see errors
        /variables/topic must not contain U+0000
    too much: 422 invalid_variables: the variables do not fit the prompt
        /variables variables and rendered messages weigh 400021 bytes, of at most 393216
    endless: 422 invalid_variables: the variables do not fit the prompt
        /variables line 1: the template takes more than 50000 steps
    starving: 422 invalid_variables: the variables do not fit the prompt
        /variables line 1: the template's filters and tests go over too much
    unknown field: 422 invalid_request: the request has faults, see errors
        /model is not a field of this
    "#);
    let events = house.store.after(0, 1_000).await.unwrap();
    let requested: Vec<Value> = events
        .iter()
        .filter(|event| event.kind == "execution_requested")
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    assert_eq!(requested.len(), 3);
    assert_eq!(requested[1]["user_id"], json!(other.id));
    assert_eq!(requested[1]["messages"], json!([{ "role": "user", "content": "Explain tea." }]));
}

#[tokio::test]
async fn cancelling_and_retrying() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let (user, other) = (house.user("user").await, house.user("other").await);
    let cancel = |id: Uuid| format!("/executions/{id}/cancel");
    let retry = |id: Uuid| format!("/executions/{id}/retry");
    let queued = user.execution(sub_specialty).await;
    let running = user.execution(sub_specialty).await;
    work(&house, running, start()).await;
    let failed = user.execution(sub_specialty).await;
    work(&house, failed, start()).await;
    work(&house, failed, failure()).await;
    let bare = user.request(poem::http::Method::POST, &cancel(queued)).finish();
    let rows = [
        ("another's", other.post(&cancel(queued), json!({})).await),
        ("retry of queued", user.post(&retry(queued), json!({})).await),
        ("queued, at another version", {
            let stale = user.request(poem::http::Method::POST, &cancel(queued)).header("if-match", "\"7\"");
            user.send(stale.finish()).await
        }),
        ("queued, without a body", user.send(bare).await),
        ("cancelled before", user.post(&cancel(queued), json!({ "reason": "again" })).await),
        ("running", user.post(&cancel(running), json!({ "reason": "too slow" })).await),
        ("running, again", user.post(&cancel(running), json!({})).await),
        ("failed", user.post(&cancel(failed), json!({})).await),
        ("none", user.post(&cancel(Uuid::nil()), json!({})).await),
        ("long reason", user.post(&cancel(running), json!({ "reason": "r".repeat(501) })).await),
        ("retry of running", user.post(&retry(running), json!({})).await),
        ("retry of cancelled", user.post(&retry(queued), json!({})).await),
        ("retry of failed", user.post(&retry(failed), json!({})).await),
        ("retry by an admin", admin.post(&retry(failed), json!({})).await),
        ("retry by another", other.post(&retry(failed), json!({})).await),
        ("retry with more", user.post(&retry(failed), json!({ "model": "better" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    another's: 404 not_found: there is no such execution
    retry of queued: 409 execution_not_ended: the execution has not ended
    queued, at another version: 412 stale_version: the thing has another version than If-Match names
    queued, without a body: 202 /api/v1/executions/{id} version 3
    cancelled before: 409 execution_ended: the execution has ended: it was cancelled
    running: 202 /api/v1/executions/{id} version 4
    running, again: 409 cancel_requested: the execution is being cancelled already
    failed: 409 execution_ended: the execution has ended: it failed
    none: 404 not_found: there is no such execution
    long reason: 422 invalid_request: the request has faults, see errors
        /reason must have at most 500 characters
    retry of running: 409 execution_not_ended: the execution has not ended
    retry of cancelled: 202 /api/v1/executions/{id} version 1
    retry of failed: 202 /api/v1/executions/{id} version 1
    retry by an admin: 202 /api/v1/executions/{id} version 1
    retry by another: 404 not_found: there is no such execution
    retry with more: 422 invalid_request: the request has faults, see errors
        /model is not a field of this
    ");
    let again = user.post(&retry(failed), json!({})).await;
    assert_ne!(again.id(), failed);
    assert_eq!(again.header("location"), Some(format!("/api/v1/executions/{}", again.id()).as_str()));
    let request = house.store.load::<Execution>(again.id()).await.unwrap().aggregate.request.unwrap();
    assert_eq!((request.retry_of, request.user_id), (Some(failed), user.id));
}
