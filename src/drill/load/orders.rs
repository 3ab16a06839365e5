//! Commands as they are sent: good ones, and those that must be refused.

use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Order;
use super::world::{Execution, Person, Prompt};
use crate::drill::record::Kind;
use crate::system::provider::PRICE;

/// A text that nobody else has written.
pub fn marker(rng: &mut StdRng) -> String {
    format!("mark{:024x}", rng.random::<u128>() >> 32)
}

/// An idempotency key.
pub fn key(rng: &mut StdRng) -> String {
    format!("key-{:016x}", rng.random::<u64>())
}

fn post(person: Option<&Person>, kind: Kind, path: String, body: Value, marker: Option<String>) -> Order {
    let user = person.map(|person| (person.id, person.token.clone()));
    let method = Method::POST;
    Order { user, kind, method, path, about: None, key: None, marker, if_match: None, body, is_valid: true }
}

/// Somebody new. Returns their password as well.
pub fn register(rng: &mut StdRng) -> (Order, String) {
    let name = marker(rng);
    let password = format!("pass-{:032x}", rng.random::<u128>());
    let body = json!({ "email": email(&name), "username": name, "password": password });
    (post(None, Kind::Register, "/api/v1/auth/register".to_owned(), body, Some(name)), password)
}

/// The address of a user of this name.
pub fn email(name: &str) -> String {
    format!("{name}@drill.example")
}

/// A specialty.
pub fn specialty(person: &Person, rng: &mut StdRng) -> Order {
    let name = marker(rng);
    let body = json!({ "name": name, "description": "made by a drill" });
    let order = post(Some(person), Kind::CreateSpecialty, "/api/v1/specialties".to_owned(), body, Some(name));
    Order { is_valid: person.is_admin, ..order }
}

/// A sub-specialty.
pub fn sub_specialty(person: &Person, specialty: Uuid, rng: &mut StdRng) -> Order {
    let name = marker(rng);
    let body = json!({ "specialty_id": specialty, "name": name, "description": "made by a drill" });
    let order = post(Some(person), Kind::CreateSubSpecialty, "/api/v1/sub-specialties".to_owned(), body, Some(name));
    Order { is_valid: person.is_admin, ..order }
}

/// A prompt with one variable, `name`.
pub fn prompt(person: &Person, sub_specialty: Uuid, is_public: bool, rng: &mut StdRng) -> Order {
    let title = marker(rng);
    let (provider, model) = if rng.random_bool(0.6) { ("openai", "gpt-4o-mini") } else { ("echo", "") };
    let body = json!({
        "sub_specialty_id": sub_specialty,
        "title": title,
        "content": "Say hello to {{ name }}.",
        "variables": {
            "type": "object",
            "properties": { "name": { "type": "string", "minLength": 1 } },
            "required": ["name"],
            "additionalProperties": false
        },
        "llm_provider": provider,
        "model": model,
        "parameters": { "system": "Be brief.", "max_tokens": 100 },
        "policy": policy(rng),
        "is_public": is_public
    });
    post(Some(person), Kind::CreatePrompt, "/api/v1/expert-prompts".to_owned(), body, Some(title))
}

/// How hard a prompt is tried: patient or not, and with each answer to what nobody knows.
fn policy(rng: &mut StdRng) -> Value {
    let unknown = ["retry_once", "hold", "fail"][rng.random_range(0..3)];
    let deadline = if rng.random_bool(0.2) { 8 } else { 600 };
    json!({ "max_attempts": rng.random_range(1..=5), "deadline_seconds": deadline, "outcome_unknown": unknown })
}

/// A new version of a prompt, if it has the version `if_match` still.
pub fn revise(person: &Person, prompt: &Prompt, if_match: Option<i64>, rng: &mut StdRng) -> Order {
    let title = marker(rng);
    let body = json!({ "title": title });
    let path = format!("/api/v1/expert-prompts/{}", prompt.id);
    let order = post(Some(person), Kind::RevisePrompt, path, body, Some(title));
    let is_valid = prompt.owner == person.id;
    Order { method: Method::PATCH, about: Some(prompt.id), if_match, is_valid, ..order }
}

/// A run of a prompt.
pub fn execute(person: &Person, prompt: &Prompt, rng: &mut StdRng) -> Order {
    let name = marker(rng);
    let body = json!({ "variables": { "name": name } });
    let path = format!("/api/v1/execute-prompt/{}", prompt.id);
    let order = post(Some(person), Kind::Execute, path, body, Some(name));
    let is_valid = person.is_admin || prompt.is_public || prompt.owner == person.id;
    Order { about: Some(prompt.id), is_valid, ..order }
}

/// A cancellation.
pub fn cancel(person: &Person, execution: &Execution, rng: &mut StdRng) -> Order {
    let reason = marker(rng);
    let body = json!({ "reason": reason });
    let path = format!("/api/v1/executions/{}/cancel", execution.id);
    let order = post(Some(person), Kind::Cancel, path, body, Some(reason));
    let is_valid = person.is_admin || execution.owner == person.id;
    Order { about: Some(execution.id), is_valid, ..order }
}

/// The same once more.
pub fn retry(person: &Person, execution: &Execution) -> Order {
    let path = format!("/api/v1/executions/{}/retry", execution.id);
    let order = post(Some(person), Kind::Retry, path, json!({}), None);
    let is_valid = person.is_admin || execution.owner == person.id;
    Order { about: Some(execution.id), is_valid, ..order }
}

/// A dead letter sent again; what is none is refused.
pub fn redrive(person: &Person, execution: &Execution, rng: &mut StdRng) -> Order {
    let reason = marker(rng);
    let path = format!("/api/v1/executions/{}/redrive", execution.id);
    let order = post(Some(person), Kind::Redrive, path, json!({ "reason": reason }), Some(reason));
    let is_valid = person.is_admin || execution.owner == person.id;
    Order { about: Some(execution.id), is_valid, ..order }
}

/// What becomes of an execution of which nobody knows the outcome, decided by the admin: sometimes with what it was billed.
pub fn resolve(admin: &Person, execution: Uuid, rng: &mut StdRng) -> Order {
    let reason = marker(rng);
    let resolution = if rng.random_bool(0.7) { "retry" } else { "fail" };
    let mut body = json!({ "resolution": resolution, "reason": reason });
    if rng.random_bool(0.3) {
        body["cost"] = json!(PRICE);
    }
    let path = format!("/api/v1/executions/{execution}/resolve");
    let order = post(Some(admin), Kind::Resolve, path, body, Some(reason));
    Order { about: Some(execution), ..order }
}

/// The rows of a projection made anew.
pub fn rebuild(person: &Person, rng: &mut StdRng) -> Order {
    let names = ["identity", "catalog", "prompt", "execution"];
    let path = format!("/api/v1/projections/{}/rebuild", names[rng.random_range(0..names.len())]);
    let order = post(Some(person), Kind::Rebuild, path, json!({}), None);
    Order { is_valid: person.is_admin, ..order }
}

/// One that no state of things makes right.
pub fn invalid(person: &Person, prompt: &Prompt, sub_specialty: Uuid, rng: &mut StdRng) -> Order {
    let order = match rng.random_range(0..7) {
        0 => {
            let mut order = execute(person, prompt, rng);
            // The variable must be a text.
            order.body = json!({ "variables": { "name": [order.marker.clone()] } });
            order
        }
        1 => {
            let mut order = execute(person, prompt, rng);
            order.body = json!({ "variables": { "name": "x", "other": order.marker.clone() } });
            order
        }
        2 => {
            let mut order = self::prompt(person, sub_specialty, true, rng);
            // It does not compile.
            order.body["content"] = json!("Say hello to {{ name ");
            order
        }
        3 => {
            let mut order = self::prompt(person, sub_specialty, true, rng);
            // A variable that the schema lacks.
            order.body["content"] = json!("Say hello to {{ somebody }}.");
            order
        }
        4 => self::prompt(person, Uuid::from_u128(rng.random()), true, rng),
        5 => {
            let (mut order, _) = register(rng);
            order.body["password"] = json!("short");
            order
        }
        _ => {
            let mut order = execute(person, prompt, rng);
            // No token of ours.
            order.user = Some((person.id, format!("{}x", person.token)));
            order
        }
    };
    Order { is_valid: false, ..order }
}
