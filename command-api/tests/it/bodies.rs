//! Any JSON as any command's body: taken, or refused with a problem whose pointers lead into it.

use std::sync::LazyLock;

use poem::http::Method;
use proptest::{collection::vec, prelude::*, sample};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::house::{Actor, Told, house};

/// One API for all cases, an admin on it, and a body that each command takes.
static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (admin, commands) = runtime.block_on(async {
        let house = house().await;
        let (admin, sub_specialty) = house.furnished().await;
        let specialty = admin.post("/specialties", json!({ "name": "Another", "description": "" })).await.id();
        let prompt = admin.prompt(sub_specialty, |_| {}).await.id();
        let execution = admin.execution(sub_specialty).await;
        let schema = json!({ "type": "object", "properties": { "a": {} } });
        let parameters = json!({ "system": "S", "temperature": 0.5, "max_tokens": 9, "seed": 1, "stop": ["x"] });
        let new = json!({
            "sub_specialty_id": sub_specialty, "title": "T", "content": "{{ a }}", "variables": schema,
            "llm_provider": "echo", "model": "m", "parameters": parameters, "is_public": true,
        });
        let commands = [
            (
                Method::POST,
                "/auth/register".to_owned(),
                json!({ "email": "", "username": "u", "password": "12345678" }),
            ),
            (Method::POST, "/auth/login".to_owned(), json!({ "email": "nobody@example.com", "password": "" })),
            (
                Method::POST,
                "/specialties".to_owned(),
                json!({ "name": "N", "description": "", "icon_url": "http://x" }),
            ),
            (
                Method::POST,
                "/sub-specialties".to_owned(),
                json!({ "specialty_id": specialty, "name": "N", "description": "" }),
            ),
            (Method::POST, "/expert-prompts".to_owned(), new.clone()),
            (Method::PATCH, format!("/expert-prompts/{prompt}"), new),
            (Method::POST, format!("/execute-prompt/{prompt}"), json!({ "variables": { "topic": "t" }, "version": 1 })),
            (Method::POST, format!("/executions/{execution}/cancel"), json!({ "reason": "R" })),
            (Method::POST, format!("/executions/{execution}/retry"), json!({})),
        ];
        (admin, commands)
    });
    Scene { runtime, admin, commands: commands.to_vec() }
});

struct Scene {
    runtime: Runtime,
    admin: Actor,
    commands: Vec<(Method, String, Value)>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[~/a-c{}% ]{0,8}", Just(Uuid::nil().to_string()), Just("object".to_owned())]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// The body with one thing of it changed.
fn changed(mut body: Value, at: sample::Index, name: String, other: Value, how: u8) -> Value {
    let mut places = vec![String::new()];
    let mut next = 0;
    while let Some(place) = places.get(next).cloned() {
        next += 1;
        match body.pointer(&place).unwrap() {
            Value::Object(fields) => places.extend(fields.keys().map(|key| format!("{place}/{key}"))),
            Value::Array(items) => places.extend((0..items.len()).map(|index| format!("{place}/{index}"))),
            _ => {}
        }
    }
    match (how, body.pointer_mut(at.get::<String>(&places)).unwrap()) {
        (0, Value::Object(fields)) => drop(fields.insert(name, other)),
        (1, Value::Object(fields)) => drop(fields.keys().next().cloned().and_then(|first| fields.shift_remove(&first))),
        (_, value) => *value = other,
    }
    body
}

/// Whether a pointer is one (RFC 6901), and leads to something in the body, or to what is missing in it.
fn leads(body: &Value, pointer: &str) -> bool {
    let escaped = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !escaped || !(pointer.is_empty() || pointer.starts_with('/')) {
        return false;
    }
    let mut there = pointer;
    loop {
        match (body.pointer(there), there.rsplit_once('/')) {
            (Some(found), _) => return there == pointer || found.is_object() || found.is_null(),
            (None, Some((parent, _))) => there = parent,
            (None, None) => return false,
        }
    }
}

fn holds(told: &Told, body: &Value) -> Result<(), TestCaseError> {
    let status = told.status.as_u16();
    if told.status.is_success() {
        return Ok(());
    }
    prop_assert!([400, 401, 403, 404, 409, 422].contains(&status), "{}", told.line());
    prop_assert_eq!(told.header("content-type"), Some("application/problem+json"));
    prop_assert_eq!(&told.body["status"], &json!(status));
    for field in ["type", "title", "detail", "code", "trace_id"] {
        prop_assert!(told.body[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {}", field, told.body);
    }
    // A key with U+0000 in it is told with U+FFFD in its place.
    let body: Value = serde_json::from_str(&body.to_string().replace("\\u0000", "\u{FFFD}")).unwrap();
    for fault in told.body["errors"].as_array().into_iter().flatten() {
        let pointer = fault["pointer"].as_str().unwrap();
        prop_assert!(leads(&body, pointer), "{} of {}", pointer, body);
    }
    Ok(())
}

async fn send(scene: &Scene, command: usize, body: &Value) -> Told {
    let (method, path, _) = &scene.commands[command];
    let request = scene.admin.request(method.clone(), path).content_type("application/json");
    scene.admin.send(request.body(body.to_string())).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_told_what_is_wrong_with_it(command in 0..9usize, body in value()) {
        let told = SCENE.runtime.block_on(send(&SCENE, command, &body));
        holds(&told, &body)?;
    }

    #[test]
    fn a_body_with_anything_changed_is_taken_or_told_where(
        command in 0..9usize, at in any::<sample::Index>(), name in text(), other in value(), how in 0..3u8,
    ) {
        let body = changed(SCENE.commands[command].2.clone(), at, name, other, how);
        let told = SCENE.runtime.block_on(send(&SCENE, command, &body));
        holds(&told, &body)?;
    }
}
