//! What people decide about executions: dead letters, unknown outcomes, policies and deadlines.

use events::{
    Call, Key, Meta, clock, execute,
    execution::{
        Bill, Calling, Command, Execution, Failed, FailureClass, Holder, Redrive, Status, Wire, dead as dead_letters,
    },
    policy::{OnUnknown, Policy},
};
use serde_json::json;
use uuid::Uuid;

use super::house::{Actor, House, house, table};

async fn work(house: &House, id: Uuid, command: Command) {
    let meta = Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None };
    execute::<Execution>(&house.store, id, command, meta).await.unwrap();
}

fn holder(attempt: u32) -> Holder {
    Holder { attempt, token: Uuid::from_u128(u128::from(attempt)) }
}

async fn start(house: &House, id: Uuid, attempt: u32) {
    let calling = Calling { request_hash: String::new(), max_cost: Some("0.5".parse().unwrap()) };
    let start = Command::Start { holder: holder(attempt), worker: "w".into(), lease_ms: 15_000, calling };
    work(house, id, start).await;
}

/// A dead letter of this user, of a prompt that is tried once.
async fn dead(user: &Actor, prompt: Uuid) -> Uuid {
    let id = requested(user, prompt).await;
    start(&user.house, id, 1).await;
    let (code, detail, wire) = ("provider_unavailable".to_owned(), "down".to_owned(), Wire::default());
    let failed = Failed { class: FailureClass::Retryable, code, detail, wire, retry_after_ms: None };
    work(&user.house, id, Command::Fail { holder: holder(1), failed, bill: Bill::default(), jitter: 0.0 }).await;
    assert!(execution(&user.house, id).await.dead);
    id
}

async fn requested(user: &Actor, prompt: Uuid) -> Uuid {
    user.post(&format!("/execute-prompt/{prompt}"), json!({ "variables": { "topic": "tea" } })).await.id()
}

async fn execution(house: &House, id: Uuid) -> Execution {
    house.store.load::<Execution>(id).await.unwrap().aggregate
}

/// A prompt with this policy.
async fn prompt(user: &Actor, sub_specialty: Uuid, policy: serde_json::Value) -> Uuid {
    user.prompt(sub_specialty, |body| body["policy"] = policy).await.id()
}

#[tokio::test]
async fn a_dead_letter_is_sent_again_once_or_discarded() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let (user, other) = (house.user("user").await, house.user("other").await);
    let tried_once = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let (one, two) = (dead(&user, tried_once).await, dead(&user, tried_once).await);
    let queued = requested(&user, tried_once).await;
    let redrive = |id: Uuid| format!("/executions/{id}/redrive");
    let discard = |id: Uuid| format!("/executions/{id}/discard");
    let reason = || json!({ "reason": "the provider is back" });
    let first = user.keyed("key", &redrive(one), reason()).await;
    let rows = [
        ("again with the key", user.keyed("key", &redrive(one), reason()).await),
        ("again", user.post(&redrive(one), json!({})).await),
        ("by an admin", admin.post(&redrive(one), json!({})).await),
        ("by another", other.post(&redrive(one), json!({})).await),
        ("of queued", user.post(&redrive(queued), json!({})).await),
        ("of none", user.post(&redrive(Uuid::nil()), json!({})).await),
        ("discard of redriven", user.post(&discard(one), reason()).await),
        ("discard without a reason", user.post(&discard(two), json!({})).await),
        ("discard with a blank reason", user.post(&discard(two), json!({ "reason": " " })).await),
        ("discard by another", other.post(&discard(two), reason()).await),
        ("discard of queued", user.post(&discard(queued), reason()).await),
        ("discard", user.post(&discard(two), reason()).await),
        ("discard again", user.post(&discard(two), reason()).await),
        ("redrive of discarded", user.post(&redrive(two), json!({})).await),
        ("a retry of it all the same", user.post(&format!("/executions/{two}/retry"), json!({})).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    again with the key: 202 /api/v1/executions/{id} version 1
    again: 409 redriven: the dead letter was redriven or discarded already
    by an admin: 409 redriven: the dead letter was redriven or discarded already
    by another: 404 not_found: there is no such execution
    of queued: 409 not_dead: the execution is no dead letter: only what failed after all its attempts is
    of none: 404 not_found: there is no such execution
    discard of redriven: 409 redriven: the dead letter was redriven or discarded already
    discard without a reason: 422 invalid_request: the request has faults, see errors
        /reason is missing
    discard with a blank reason: 422 invalid_request: the request has faults, see errors
        /reason is blank
    discard by another: 404 not_found: there is no such execution
    discard of queued: 409 not_dead: the execution is no dead letter: only what failed after all its attempts is
    discard: 200 /api/v1/executions/{id} version 5
    discard again: 409 discarded: the dead letter was discarded
    redrive of discarded: 409 discarded: the dead letter was discarded
    a retry of it all the same: 202 /api/v1/executions/{id} version 1
    ");
    let again = execution(&house, first.id()).await.request.unwrap();
    assert_eq!((again.retry_of, again.policy().max_attempts), (Some(one), 1));
    let by = again.redrive.unwrap();
    assert_eq!((by.by, by.reason.as_deref()), (Some(user.id), Some("the provider is back")));
    let last = house.store.stream("execution", two).await.unwrap().pop().unwrap();
    assert_eq!((last.kind.as_str(), last.meta.actor), ("execution_discarded", Some(user.id)));
}

#[tokio::test]
async fn of_a_discard_and_a_redrive_at_once_one_is_taken() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let tried_once = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    for _ in 0..20 {
        let id = dead(&user, tried_once).await;
        let (redrive, discard) = (format!("/executions/{id}/redrive"), format!("/executions/{id}/discard"));
        let reason = || json!({ "reason": "the provider is back" });
        let (a, b) = tokio::join!(user.post(&redrive, reason()), user.post(&discard, reason()));
        let taken = [a, b].iter().filter(|told| told.status.is_success()).count();
        assert_eq!(taken, 1);
    }
}

#[tokio::test]
async fn a_filter_says_which_dead_letters_are_sent_again_and_each_is_sent_once() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let (user, other) = (house.user("user").await, house.user("other").await);
    let mut prompts = Vec::new();
    for _ in 0..2 {
        prompts.push(prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await);
    }
    let lone = dead(&user, prompts[0]).await;
    for _ in 0..40 {
        dead(&user, prompts[1]).await;
    }
    requested(&user, prompts[0]).await;
    let before = house.kinds().await.len();
    let path = |query: &str| format!("/executions/redrive{query}");
    let of = |n: usize| format!("?prompt_id={}", prompts[n]);
    let refusals = [
        ("everything", user.post(&path(""), json!({})).await),
        ("only counting everything", user.post(&path("?dry_run=true"), json!({})).await),
        ("what is not dead", user.post(&path("?dead=false"), json!({})).await),
        ("what succeeded", user.post(&path("?status=succeeded"), json!({})).await),
        ("nothing", user.post(&path(&format!("?prompt_id={}", Uuid::nil())), json!({})).await),
        ("of another", other.post(&path(&of(0)), json!({})).await),
        ("by nobody", house.anon().post(&path("?dead=true"), json!({})).await),
        ("with more", user.post(&path("?dead=true"), json!({ "model": "better" })).await),
    ];
    insta::assert_snapshot!(table(refusals), @r"
    everything: 422 filter_required: say which: dead=true, status=failed or prompt_id; everything is not sent again without a filter
    only counting everything: 422 filter_required: say which: dead=true, status=failed or prompt_id; everything is not sent again without a filter
    what is not dead: 422 invalid_parameter: parameter `dead` is at fault
        /dead must be true: only dead letters are sent again
    what succeeded: 422 invalid_parameter: parameter `status` is at fault
        /status no dead letter is succeeded: it must be failed
    nothing: 409 nothing_matches: no dead letter matches the filter
    of another: 409 nothing_matches: no dead letter matches the filter
    by nobody: 401 unauthorized: a valid bearer token is needed
    with more: 422 invalid_request: the request has faults, see errors
        /model is not a field of this
    ");
    let counts =
        |told: &super::house::Told| (told.status.as_u16(), told.body["matched"].clone(), told.body["count"].clone());
    let dry = user.post(&path("?dead=true&dry_run=true"), json!({})).await;
    assert_eq!(counts(&dry), (200, json!(41), json!(0)));
    assert_eq!(house.kinds().await.len(), before, "and nothing was done");
    let one = user.post(&path(&of(0)), json!({ "reason": "the provider is back" })).await;
    assert_eq!(counts(&one), (202, json!(1), json!(1)));
    assert_eq!(one.body["items"][0]["retry_of"], json!(lone));
    assert_eq!(house.kinds().await[before..], ["execution_requested"]);
    // The same by two people at once: each of the others once.
    let (failed, all) = (path("?status=failed"), path("?dead=true"));
    let (a, b) = tokio::join!(user.post(&failed, json!({})), admin.post(&all, json!({})));
    let sent = [a, b].iter().filter_map(|told| told.body["count"].as_u64()).sum::<u64>();
    assert_eq!(sent, 40);
    assert_eq!(house.kinds().await.len(), before + 41);
    assert_eq!(
        user.post(&path("?dead=true"), json!({})).await.line(),
        "409 nothing_matches: no dead letter matches the filter"
    );
}

#[tokio::test]
async fn a_repeated_redrive_of_many_is_told_what_the_first_has_sent_and_sends_nothing() {
    let house = house().await;
    let (admin, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let tried_once = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let mut letters = Vec::new();
    for _ in 0..50 {
        letters.push(json!(dead(&user, tried_once).await));
    }
    let path = format!("/executions/redrive?prompt_id={tried_once}");
    let body = || json!({ "reason": "the provider is back" });
    // A count is no use of the key.
    assert_eq!(user.keyed("many", &format!("{path}&dry_run=true"), body()).await.body["matched"], 50);
    let told = futures_util::future::join_all((0..5).map(|_| user.keyed("many", &path, body()))).await;
    let mut sent: Vec<_> = told[0].body["items"].as_array().unwrap().iter().map(|i| i["retry_of"].clone()).collect();
    assert_eq!((&told[0].body["matched"], &told[0].body["count"]), (&json!(50), &json!(50)));
    sent.sort_by_key(ToString::to_string);
    letters.sort_by_key(ToString::to_string);
    assert_eq!(sent, letters);
    // Whatever has died since.
    let since = dead(&user, tried_once).await;
    let before = house.kinds().await.len();
    let again = user.keyed("many", &path, body()).await;
    for told in told.iter().chain([&again]) {
        assert_eq!((told.status.as_u16(), &told.body), (202, &again.body));
    }
    let replayed = told.iter().filter(|told| told.header("idempotent-replayed") == Some("true")).count();
    assert_eq!((replayed, again.header("idempotent-replayed")), (4, Some("true")));
    assert_eq!(
        user.keyed("many", &path, json!({})).await.line(),
        "422 idempotency_key_reused: the Idempotency-Key was used for another request"
    );
    assert_eq!(house.kinds().await.len(), before);
    // Another's key is another key.
    assert_eq!(admin.keyed("many", &path, body()).await.body["items"][0]["retry_of"], json!(since));
}

#[tokio::test]
async fn dead_letters_of_an_archived_prompt_are_not_sent_again() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let archived = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let live = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let (left, sent) = (dead(&user, archived).await, dead(&user, live).await);
    user.post(&format!("/expert-prompts/{archived}/archive"), json!({})).await;
    let one = user.post(&format!("/executions/{left}/redrive"), json!({})).await;
    assert_eq!((one.status.as_u16(), &one.body["code"]), (409, &json!("archived")));
    for _ in 0..2 {
        let many = user.keyed("many", "/executions/redrive?dead=true", json!({})).await;
        assert_eq!((many.status.as_u16(), &many.body["matched"]), (202, &json!(1)));
        assert_eq!(many.body["items"][0]["retry_of"], json!(sent));
    }
}

#[tokio::test]
async fn a_redrive_of_many_that_was_killed_goes_on_with_the_rest_of_the_same() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let user = house.user("user").await;
    let tried_once = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let other = prompt(&user, sub_specialty, json!({ "max_attempts": 1 })).await;
    let path = |prompt: Uuid| format!("/executions/redrive?prompt_id={prompt}");
    let body = || json!({ "reason": "the provider is back" });
    // How the body of such a request is known.
    dead(&user, other).await;
    user.keyed("other", &path(other), body()).await;
    let known = "select request from command where key like '%other%'";
    let request: Vec<u8> = sqlx::query_scalar(known).fetch_one(&house.database.pool).await.unwrap();

    let mut letters = Vec::new();
    for _ in 0..3 {
        letters.push(dead(&user, tried_once).await);
    }
    let until = house.store.head().await.unwrap();
    let since = dead(&user, tried_once).await;
    // What a process leaves that is killed after the first of three.
    let again = execution(&house, letters[0]).await;
    let redrive = Redrive { by: Some(user.id), reason: Some("the provider is back".to_owned()) };
    let key = Key {
        caller: user.id,
        key: format!("POST /api/v1/executions/redrive\nmany\n3 {until} {tried_once} {}", letters[0]),
        request: request.try_into().unwrap(),
    };
    let meta = Meta { actor: Some(user.id), correlation_id: clock::id(), causation_id: None, traceparent: None };
    let call = Call { key: Some(key), ..Call::from(meta) };
    dead_letters::send(&house.store, again.redrive(letters[0], redrive).unwrap(), call, &[]).await.unwrap();

    let first = user.keyed("many", &path(tried_once), body()).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (202, None));
    assert_eq!((&first.body["matched"], &first.body["count"]), (&json!(3), &json!(3)));
    let sent = first.body["items"].as_array().unwrap().iter().map(|item| item["retry_of"].clone());
    let (mut sent, mut letters) = (sent.map(|id| id.to_string()).collect::<Vec<_>>(), letters);
    sent.sort_unstable();
    letters.sort_unstable();
    assert_eq!(sent, letters.iter().map(|id| json!(id).to_string()).collect::<Vec<_>>());
    let before = house.kinds().await.len();
    let repeated = user.keyed("many", &path(tried_once), body()).await;
    assert_eq!((&repeated.body, repeated.header("idempotent-replayed")), (&first.body, Some("true")));
    assert_eq!(
        user.keyed("many", &path(other), body()).await.line(),
        "422 idempotency_key_reused: the Idempotency-Key was used for another request"
    );
    assert_eq!(house.kinds().await.len(), before, "and what has died since is dead: {since}");
}

#[tokio::test]
async fn an_unknown_outcome_that_is_held_is_resolved_by_its_owner() {
    let house = house().await;
    let (_, sub_specialty) = house.furnished().await;
    let (user, other) = (house.user("user").await, house.user("other").await);
    let holding = prompt(&user, sub_specialty, json!({ "outcome_unknown": "hold", "deadline_seconds": 60 })).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let id = requested(&user, holding).await;
        start(&house, id, 1).await;
        work(&house, id, Command::Due { attempt: 1, held: true, deadline: false }).await;
        assert_eq!(execution(&house, id).await.status, Status::OutcomeUnknown);
        held.push(id);
    }
    let queued = requested(&user, holding).await;
    let path = |id: Uuid| format!("/executions/{id}/resolve");
    let retry = || json!({ "resolution": "retry", "cost": "0.75", "reason": "their dashboard says so" });
    let less = || json!({ "resolution": "retry", "cost": "0.0003" });
    let rows = [
        ("by another", other.post(&path(held[0]), retry()).await),
        ("of queued", user.post(&path(queued), retry()).await),
        ("without a resolution", user.post(&path(held[0]), json!({})).await),
        ("unknown", user.post(&path(held[0]), json!({ "resolution": "shrug" })).await),
        ("below zero", user.post(&path(held[0]), json!({ "resolution": "retry", "cost": "-1" })).await),
        ("no amount", user.post(&path(held[0]), json!({ "resolution": "retry", "cost": "much" })).await),
        ("below what is booked", user.post(&path(held[0]), less()).await),
        ("retry", user.post(&path(held[0]), retry()).await),
        ("again", user.post(&path(held[0]), retry()).await),
        ("fail", user.post(&path(held[1]), json!({ "resolution": "fail" })).await),
        ("cancel", user.post(&format!("/executions/{}/cancel", held[2]), json!({})).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    by another: 404 not_found: there is no such execution
    of queued: 409 outcome_not_unknown: the execution waits for nobody: it is queued
    without a resolution: 422 invalid_request: the request has faults, see errors
        /resolution is missing
    unknown: 422 invalid_request: the request has faults, see errors
        /resolution must be one of ["retry","fail"]
    below zero: 422 invalid_request: the request has faults, see errors
        /cost is not an amount such as 0.000315
    no amount: 422 invalid_request: the request has faults, see errors
        /cost is not an amount such as 0.000315
    below what is booked: 403 cost_below_booked: only an admin may state a cost below what is booked, 0.5 USD
        /cost is below what is booked
    retry: 202 /api/v1/executions/{id} version 6
    again: 409 outcome_not_unknown: the execution waits for nobody: it is queued
    fail: 202 /api/v1/executions/{id} version 6
    cancel: 202 /api/v1/executions/{id} version 6
    "#);
    assert_eq!(execution(&house, held[0]).await.status, Status::Queued);
    assert!(execution(&house, held[1]).await.dead);
    assert_eq!(execution(&house, held[2]).await.status, Status::Cancelled);
    let resolved = house.store.stream("execution", held[0]).await.unwrap().remove(4);
    let data: serde_json::Value = serde_json::from_str(&resolved.data).unwrap();
    assert_eq!((&data["cost"], &data["max_cost"], &data["by"]), (&json!("0.75"), &json!("0.5"), &json!(user.id)));
}

#[tokio::test]
async fn policies_have_defaults_and_limits_and_a_request_may_set_its_own_deadline() {
    let house = house().await;
    let (user, sub_specialty) = house.furnished().await;
    let policy = |policy: serde_json::Value| user.prompt(sub_specialty, |body| body["policy"] = policy);
    let plain = user.prompt(sub_specialty, |_| {}).await.id();
    let run = |body: serde_json::Value| {
        let (path, mut body) = (format!("/execute-prompt/{plain}"), body);
        body["variables"] = json!({ "topic": "tea" });
        let user = user.clone();
        async move { user.post(&path, body).await }
    };
    let rows = [
        ("no attempt", policy(json!({ "max_attempts": 0 })).await),
        ("too many", policy(json!({ "max_attempts": 21 })).await),
        ("no time", policy(json!({ "deadline_seconds": 0 })).await),
        ("years", policy(json!({ "deadline_seconds": 86_401 })).await),
        ("unknown policy", policy(json!({ "outcome_unknown": "guess" })).await),
        ("unknown field", policy(json!({ "attempts": 1 })).await),
        ("deadline of nothing", run(json!({ "deadline_seconds": 0 })).await),
        ("deadline of years", run(json!({ "deadline_seconds": 86_401 })).await),
        ("deadline below zero", run(json!({ "deadline_seconds": -1 })).await),
        ("good", policy(json!({ "max_attempts": 20, "deadline_seconds": 86_400, "outcome_unknown": "fail" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    no attempt: 422 invalid_prompt: the prompt is not valid
        /policy/max_attempts is not between 1 and 20
    too many: 422 invalid_prompt: the prompt is not valid
        /policy/max_attempts is not between 1 and 20
    no time: 422 invalid_prompt: the prompt is not valid
        /policy/deadline_seconds is not between 1 and 86400
    years: 422 invalid_prompt: the prompt is not valid
        /policy/deadline_seconds is not between 1 and 86400
    unknown policy: 422 invalid_request: the request has faults, see errors
        /policy/outcome_unknown must be one of ["retry_once","hold","fail"]
    unknown field: 422 invalid_request: the request has faults, see errors
        /policy/attempts is not a field of this
    deadline of nothing: 422 invalid_request: the request has faults, see errors
        /deadline_seconds is not between 1 and 86400
    deadline of years: 422 invalid_request: the request has faults, see errors
        /deadline_seconds is not between 1 and 86400
    deadline below zero: 422 invalid_request: the request has faults, see errors
        /deadline_seconds must be at least 0
    good: 201 /api/v1/expert-prompts/{id} version 1
    "#);
    let of = async |id| execution(&house, id).await.request.unwrap().policy();
    assert_eq!(of(run(json!({})).await.id()).await, Policy::default());
    let own = of(run(json!({ "deadline_seconds": 7 })).await.id()).await;
    assert_eq!(own, Policy { deadline_seconds: 7, ..Policy::default() });
    let held =
        user.patch(&format!("/expert-prompts/{plain}"), json!({ "policy": { "outcome_unknown": "hold" } })).await;
    assert_eq!(held.status, 200, "{}", held.line());
    let now = of(run(json!({})).await.id()).await;
    assert_eq!(now, Policy { outcome_unknown: OnUnknown::Hold, ..Policy::default() });
}
