//! How things were: at any position and time, the fold of what the log had until then.

use std::{collections::HashMap, fmt::Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use events::{
    Fold, Meta, Recorded, clock,
    execution::row::Execution,
    identity::row::User,
    prompt::row::Prompt,
    store::{Append, New},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestError, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::world::{Answer, Person, World};

/// What can happen to a thing: the first is what it begins with.
const EXECUTION: [&str; 14] = [
    "execution_requested",
    "execution_started",
    "execution_attempt_failed",
    "execution_succeeded",
    "execution_failed",
    "execution_timed_out",
    "execution_cancel_requested",
    "execution_cancelled",
    "provider_call_started",
    "execution_retry_due",
    "execution_outcome_unknown",
    "execution_resolved",
    "provider_answered_late",
    "execution_discarded",
];

/// Appends the next event of a thing, chosen by `dice`.
async fn happen(world: &World, stream: &'static str, id: Uuid, owner: Uuid, version: i32, dice: u8) {
    let begins = version == 1;
    let later = EXECUTION[1 + usize::from(dice) % 13];
    let kind = match (stream, begins) {
        ("execution", true) => EXECUTION[0],
        ("execution", false) => later,
        ("prompt", true) => "prompt_created",
        ("prompt", false) => "prompt_revised",
        _ => "user_registered",
    };
    let mut data = json!({
        "user_id": owner, "prompt_id": Uuid::from_u128(9), "prompt_version": 2, "variables": { "ä": dice, "a": null },
        "messages": [], "llm_provider": "openai", "model": format!("m{dice}"), "attempt": dice % 4, "worker": "w",
        "class": "permanent", "code": "c", "detail": format!("d{dice}"), "limit_ms": 60_000, "by": owner,
        "result": format!("r{dice}"), "duration_ms": u64::from(dice) * 7, "email": "e@x", "username": "u",
        "sub_specialty_id": Uuid::from_u128(8), "title": format!("t{dice}"), "content": "c {{ ä }}",
        "is_public": dice.is_multiple_of(3), "parameters": { "max_tokens": dice }, "request_hash": "h", "resolution": "retry",
        "reason": "r", "retry_in_ms": 1000,
    });
    if dice.is_multiple_of(2) {
        data["input_tokens"] = json!(dice);
        data["cost"] = json!(format!("0.00{dice:03}0"));
    }
    if dice.is_multiple_of(3) {
        data["max_cost"] = json!("0.25");
        data["policy"] = json!({ "deadline_seconds": dice, "max_attempts": 3 });
        data["dead"] = json!(true);
    }
    if dice.is_multiple_of(5) {
        data["output_tokens"] = json!(1);
        data["finish_reason"] = json!("stop");
        data["reasoning"] = json!("Hm.");
        let call = json!({"type": "function", "function": {"name": "f", "arguments": "{\"n\": 1.0}"}});
        data["tool_calls"] = json!([call]);
        data["retry_of"] = json!(Uuid::from_u128(77));
    }
    let append = Append {
        stream,
        id,
        expected: version - 1,
        scope: Some(owner),
        events: vec![New { event_id: clock::id(), kind, schema: 1, data: data.to_string() }],
        meta: Meta { actor: Some(owner), correlation_id: id, causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    world.store.append(append).await.unwrap().unwrap();
}

/// A fresh fold of the log, stopped at a position.
fn fold<R: Fold>(log: &[Recorded], id: Uuid, position: i64) -> Option<R> {
    let mut row = None;
    for event in log.iter().filter(|event| event.position <= position && event.stream == R::STREAM && event.id == id) {
        R::apply(&mut row, event).unwrap();
    }
    row
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn execution(row: Execution) -> Value {
    let tokens = match (row.input_tokens, row.output_tokens) {
        (None, None) => None,
        (input, output) => Some(input.unwrap_or(0) + output.unwrap_or(0)),
    };
    let parts = [row.cost, row.cost_ceiling, row.cost_unknown];
    let booked = parts.into_iter().flatten().reduce(|sum, part| sum + part);
    json!({
        "id": row.id, "prompt_id": row.prompt_id, "prompt_version": row.prompt_version, "user_id": row.user_id,
        "variables": json_of(&row.variables), "llm_provider": row.llm_provider, "model": row.model, "status": row.status,
        "result": row.result, "finish_reason": row.finish_reason, "reasoning": row.reasoning,
        "tool_calls": row.tool_calls.as_deref().map(json_of), "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens, "tokens_used": tokens, "cost": row.cost.map(|cost| cost.to_string()),
        "cost_booked": booked.map(|cost| cost.to_string()), "next_attempt_at": row.next_attempt_at.map(time),
        "deadline_at": row.deadline_at.map(time), "dead": row.dead, "discarded_at": row.discarded_at.map(time),
        "execution_time": row.duration_ms.map(|ms| f64::from(i32::try_from(ms).unwrap()) / 1000.0), "attempts": row.attempts,
        "error": row.error_code.map(|code| json!({ "code": code, "detail": row.error_detail })), "retry_of": row.retry_of,
        "created_at": time(row.created_at), "started_at": row.started_at.map(time),
        "finished_at": row.finished_at.map(time), "version": row.version, "position": row.position,
    })
}

fn prompt(row: &Prompt) -> Value {
    json!({
        "id": row.id, "user_id": row.user_id, "sub_specialty_id": row.sub_specialty_id, "title": row.title,
        "content": row.content, "variables": json_of(&row.variables), "llm_provider": row.llm_provider, "model": row.model,
        "parameters": json_of(&row.parameters), "is_public": row.is_public, "policy": policy(row), "created_at": time(row.created_at),
        "updated_at": time(row.updated_at), "version": row.version, "position": row.position, "archived": row.archived,
    })
}

fn policy(row: &Prompt) -> Value {
    let mut policy = json!({ "max_attempts": 5, "deadline_seconds": 600, "outcome_unknown": "retry_once" });
    for (name, said) in row.policy.as_deref().map(json_of).iter().flat_map(|said| said.as_object().unwrap().clone()) {
        policy[name] = said;
    }
    policy
}

fn user(row: &User) -> Value {
    json!({
        "id": row.id, "email": row.email, "username": row.username, "roles": row.roles, "is_active": row.is_active,
        "created_at": time(row.created_at), "updated_at": time(row.updated_at),
    })
}

/// That an answer is the thing as it was, or 404 where it was not.
fn same(answer: &Answer, position: i64, expected: Option<Value>) -> Result<(), TestCaseError> {
    let Some(expected) = expected else {
        prop_assert_eq!(answer.status, 404, "{:?}", answer);
        return Ok(());
    };
    prop_assert_eq!((answer.status, answer.position), (200, Some(position)), "{:?}", answer);
    prop_assert_eq!(&answer.body, &expected);
    Ok(())
}

#[test]
fn at_any_position_and_time_the_answer_is_a_fresh_fold_that_stops_there() {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let mut runner = TestRunner::new(Config { cases: 24, max_shrink_iters: 0, ..Config::default() });
    let scripts = (vec((0..7u128, any::<u8>()), 1..40), vec(any::<Index>(), 6), any::<u64>());
    let done = runner.run(&scripts, |(script, places, case)| {
        runtime.block_on(async {
            // Things of their own, in a log that goes on from case to case.
            let thing = |n: u128| Uuid::from_u128((u128::from(case) << 8) + n);
            let person = |n: u128| Person::new(thing(n).as_u128(), false);
            let mut versions: HashMap<u128, i32> = HashMap::new();
            for (n, dice) in script {
                let version = *versions.entry(n).and_modify(|version| *version += 1).or_insert(1);
                let (stream, owner) = match n {
                    0..3 => ("execution", thing(5)),
                    3..5 => ("prompt", thing(5)),
                    _ if version > 1 => continue,
                    _ => ("user", thing(n)),
                };
                happen(&world, stream, thing(n), owner, version, dice).await;
            }
            let log = world.store.after(0, usize::MAX >> 1).await.unwrap();
            for place in places {
                let at = place.get(&log);
                // A position before anything, too.
                let position = if at.position % 7 == 0 { at.position - 1 } else { at.position };
                let by_time = log.iter().rev().find(|event| event.recorded_at <= at.recorded_at).unwrap().position;
                for (as_of, position) in [(position.to_string(), position), (time(at.recorded_at), by_time)] {
                    for n in 0..7 {
                        let (id, owner) = (thing(n), person(if n < 5 { 5 } else { n }));
                        let (path, expected) = match n {
                            0..3 => (format!("executions/{id}"), fold(&log, id, position).map(execution)),
                            3..5 => (format!("expert-prompts/{id}"), fold(&log, id, position).as_ref().map(prompt)),
                            _ => ("auth/me".to_owned(), fold(&log, id, position).as_ref().map(user)),
                        };
                        let answer = world.get(&owner, &format!("/api/v1/{path}?as_of={as_of}")).await;
                        same(&answer, position, expected)?;
                    }
                }
            }
            Ok(())
        })
    });
    if let Err(TestError::Fail(why, (script, ..))) = &done {
        panic!("{why}\n{script:?}");
    }
    done.unwrap();
}

#[tokio::test]
async fn who_may_see_a_thing_may_see_how_it_was() {
    let world = World::new().await;
    let (ada, bob, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let ids = [Uuid::from_u128(10), Uuid::from_u128(11)];
    happen(&world, "execution", ids[0], ada.id, 1, 0).await;
    // Private, public, private again; and one that is public from its second version on.
    for (version, dice) in [(1, 1), (2, 3), (3, 1)] {
        happen(&world, "prompt", ids[0], ada.id, version, dice).await;
    }
    for (version, dice) in [(1, 1), (2, 3)] {
        happen(&world, "prompt", ids[1], ada.id, version, dice).await;
    }
    let mut told = String::new();
    for (name, person) in [("owner", &ada), ("other", &bob), ("admin", &admin)] {
        for (path, positions) in [
            (format!("executions/{}", ids[0]), [0, 1]),
            (format!("expert-prompts/{}", ids[0]), [2, 3]),
            (format!("expert-prompts/{}", ids[1]), [5, 6]),
        ] {
            let mut statuses = Vec::new();
            for position in positions {
                statuses.push(world.get(person, &format!("/api/v1/{path}?as_of={position}")).await.status);
            }
            writeln!(told, "{name} {} {statuses:?}", path.split('/').next().unwrap()).unwrap();
        }
    }
    insta::assert_snapshot!(told, @r"
    owner executions [404, 200]
    owner expert-prompts [200, 200]
    owner expert-prompts [200, 200]
    other executions [404, 404]
    other expert-prompts [404, 404]
    other expert-prompts [404, 200]
    admin executions [404, 200]
    admin expert-prompts [200, 200]
    admin expert-prompts [200, 200]
    ");
}

#[tokio::test]
async fn what_is_no_place_in_the_log_is_refused_with_its_end() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    let id = Uuid::from_u128(10);
    happen(&world, "execution", id, ada.id, 1, 0).await;
    let soon = time(clock::now() + chrono::TimeDelta::minutes(5));
    for (as_of, why) in [
        ("2", "is past the end of the log, 1"),
        ("9223372036854775807", "is past the end of the log, 1"),
        ("-1", "must not be negative"),
        ("yesterday", "is neither a position of the log nor a time"),
        ("2026-11-20", "is neither a position of the log nor a time"),
        ("", "is neither a position of the log nor a time"),
        ("99999999999999999999", "is neither a position of the log nor a time"),
        // The sign of an offset is a blank in a URL.
        ("2026-11-20T18:23:00+01:00", "+ is written %2B"),
        (&soon, "is in the future"),
    ] {
        for path in [format!("executions/{id}"), format!("expert-prompts/{id}"), "auth/me".to_owned()] {
            let told = world.refused(&ada, &format!("/api/v1/{path}?as_of={as_of}")).await;
            assert!(told.starts_with(r#"422 "invalid_parameter" "/as_of""#) && told.contains(why), "{as_of}: {told}");
        }
    }
    let answer = world.get(&ada, &format!("/api/v1/executions/{id}?as_of=2020-11-20T18:23:00%2B01:00")).await;
    assert_eq!(answer.status, 404, "it was not there yet");
}
