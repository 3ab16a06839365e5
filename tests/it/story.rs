//! From register to result, with a subscriber on NATS that sees it all; and the same after stop, start and kill -9.

use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::testkit;
use tokio::time::timeout;

use crate::{
    providers,
    system::{PATIENCE, System},
};

const OPENAI_KEY: &str = "sk-planted-openai-key";
const ANTHROPIC_KEY: &str = "sk-planted-anthropic-key";

/// A client as the URL in endpoints.json says.
pub async fn reader(url: &str) -> async_nats::Client {
    let address: async_nats::ServerAddr = url.parse().unwrap();
    let (user, password) = (address.username().unwrap().to_owned(), address.password().unwrap().to_owned());
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await.unwrap()
}

/// Everything that the stream holds up to `position`, as (sequence, subject, headers, payload).
async fn stream(system: &System, position: u64) -> Vec<(u64, String, async_nats::HeaderMap, Value)> {
    let client = reader(&system.nats_url).await;
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.stream_by_subject("events.>").await.unwrap();
    let stream = jetstream.get_stream(stream).await.unwrap();
    let consumer =
        stream.create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig::default()).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < usize::try_from(position).unwrap() {
        let message = timeout(PATIENCE, messages.next()).await.unwrap().unwrap().unwrap();
        let sequence = message.info().unwrap().stream_sequence;
        seen.push((
            sequence,
            message.subject.to_string(),
            message.headers.clone().unwrap(),
            serde_json::from_slice(&message.payload).unwrap(),
        ));
    }
    seen
}

fn kinds(events: &Value) -> Vec<&str> {
    events["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_executed_through_events_and_survives() {
    let home = testkit::folder("a day book");
    let (openai, anthropic) = (providers::openai().await, providers::anthropic().await);
    let environment = [
        ("OPENAI_API_KEY", OPENAI_KEY.to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", openai.uri())),
        ("ANTHROPIC_API_KEY", ANTHROPIC_KEY.to_owned()),
        ("ANTHROPIC_BASE_URL", format!("{}/v1", anthropic.uri())),
    ];
    let system = System::start(&home, &environment).await;

    // A subscriber that is there before anything happens.
    let subscriber = reader(&system.nats_url).await;
    let mut outcomes = subscriber.subscribe("events.*.execution.*.execution_succeeded").await.unwrap();
    subscriber.flush().await.unwrap();

    let admin = system.user("ada").await;
    let me = system.query("/api/v1/auth/me?min_position=1", &admin).await;
    assert_eq!((&me["roles"], &me["email"]), (&json!(["admin"]), &json!("ada@example.com")));
    let other = system.user("bob").await;
    let sub = system.catalogue(&admin).await;
    let specialty = json!({ "name": "Neurology", "description": "" });
    let refused = system.send(Method::POST, "/api/v1/specialties", Some(&other), Some(specialty)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");

    // OpenAI's wire form.
    let prompt = system.prompt(&admin, &sub, "openai", "gpt-4o-mini").await;
    let execution = system.execute(&admin, &prompt, "Ada").await;
    let done = system.outcome(&admin, &execution).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["result"], "Hello, Ada!");
    assert_eq!(
        (&done["input_tokens"], &done["output_tokens"], &done["tokens_used"]),
        (&json!(1000), &json!(500), &json!(1500))
    );
    assert_eq!(done["attempts"], 1);
    // 800 fresh at 0.15, 200 cached at 0.075, 500 out at 0.60 USD a million.
    assert_eq!(done["cost"], "0.000435", "{done}");

    // Anthropic's.
    let prompt = system.prompt(&admin, &sub, "anthropic", "claude-3-5-haiku-latest").await;
    let execution_a = system.execute(&admin, &prompt, "Ada").await;
    let done = system.outcome(&admin, &execution_a).await;
    assert_eq!((&done["status"], &done["result"]), (&json!("succeeded"), &json!("Good day, Ada.")), "{done}");

    // Echo needs no key.
    let prompt = system.prompt(&admin, &sub, "echo", "").await;
    let echoed = system.execute(&admin, &prompt, "Ada").await;
    let done = system.outcome(&admin, &echoed).await;
    assert_eq!((&done["status"], &done["cost"]), (&json!("succeeded"), &json!("0")), "{done}");
    assert_eq!((&done["result"], &done["finish_reason"]), (&json!("Say hello to Ada."), &json!("echo, no model")));

    // A provider without its key.
    let prompt_g = system.prompt(&admin, &sub, "groq", "llama-3.3-70b-versatile").await;
    let failed = system.execute(&admin, &prompt_g, "Ada").await;
    let done = system.outcome(&admin, &failed).await;
    assert_eq!((&done["status"], &done["error"]["code"]), (&json!("failed"), &json!("provider_not_configured")));
    assert!(done["error"]["detail"].as_str().unwrap().contains("GROQ_API_KEY"), "{done}");

    // The same key is the same command, and it tells the same place.
    let path = format!("/api/v1/execute-prompt/{prompt}");
    let body = json!({ "variables": { "name": "Ada" } });
    let headers = [("Idempotency-Key", "once")];
    let first = system.send_with(Method::POST, &path, Some(&admin), Some(body.clone()), &headers).await;
    let second = system.send_with(Method::POST, &path, Some(&admin), Some(body), &headers).await;
    assert_eq!((first.status, second.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!((&first.body, &first.headers["location"]), (&second.body, &second.headers["location"]));
    assert_eq!(first.headers.get("idempotent-replayed"), None);
    assert_eq!(second.headers["idempotent-replayed"], "true");
    system.outcome(&admin, first.body["id"].as_str().unwrap()).await;

    // Nobody else sees any of it.
    for path in [format!("/api/v1/executions/{execution}"), format!("/api/v1/expert-prompts/{prompt}")] {
        let answer = system.send(Method::GET, &path, Some(&other), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }

    // What happened, as the log has it and as NATS brought it.
    let events = system.query(&format!("/api/v1/executions/{execution}/events"), &admin).await;
    assert_eq!(
        kinds(&events),
        ["execution_requested", "execution_started", "provider_call_started", "execution_succeeded"]
    );
    let message = timeout(PATIENCE, outcomes.next()).await.unwrap().unwrap();
    assert!(message.subject.contains(&execution), "{}", message.subject);

    let last = system.query(&format!("/api/v1/executions/{failed}/events"), &admin).await;
    let head = last["items"].as_array().unwrap().last().unwrap()["position"].as_u64().unwrap();
    let seen = stream(&system, head).await;
    for (place, (sequence, subject, headers, payload)) in (1u64..).zip(&seen) {
        assert_eq!(*sequence, place, "{subject}");
        assert_eq!(headers.get("ce-position").unwrap().as_str(), place.to_string());
        assert_eq!(headers.get("ce-specversion").unwrap().as_str(), "1.0");
        assert!(payload.is_object(), "{subject}");
        let all = format!("{subject} {headers:?} {payload}");
        for secret in [OPENAI_KEY, ANTHROPIC_KEY, "password of", "argon2"] {
            assert!(!all.contains(secret), "{secret} is on the bus: {all}");
        }
    }
    let log = system.log();
    for secret in [OPENAI_KEY, ANTHROPIC_KEY, "password of", admin.as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log file");
    }

    // Stopped in order, started again: all is there, and work goes on.
    assert_eq!(system.stop().await, Some(0));
    assert!(!home.join("data/endpoints.json").exists());
    let system = System::start(&home, &environment).await;
    assert_eq!(system.outcome(&admin, &execution).await["result"], "Hello, Ada!");
    let again = system.execute(&admin, &prompt, "Ada").await;
    assert_eq!(system.outcome(&admin, &again).await["status"], "succeeded");

    // Killed in the middle: what was acknowledged is done after the next start.
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        acknowledged.push(system.execute(&admin, &prompt, "Ada").await);
    }
    system.kill().await;
    let system = System::start(&home, &environment).await;
    for execution in acknowledged {
        assert_eq!(system.outcome(&admin, &execution).await["status"], "succeeded");
    }
    assert_eq!(system.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_base_url_serves_commands_queries_and_documents() {
    let system = System::start(&testkit::folder("one"), &[]).await;
    let spec = system.send(Method::GET, "/openapi.json", None, None).await;
    assert_eq!(spec.status, StatusCode::OK);
    let paths = spec.body["paths"].as_object().unwrap();
    assert!(paths["/api/v1/expert-prompts"]["post"].is_object() && paths["/api/v1/expert-prompts"]["get"].is_object());
    for path in ["/docs", "/redoc", "/asyncapi.json", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(system.send(Method::GET, path, None, None).await.status, StatusCode::OK, "{path}");
    }
    let unknown = system.send(Method::GET, "/api/v1/nothing", None, None).await;
    assert_eq!((unknown.status, &unknown.body["status"]), (StatusCode::NOT_FOUND, &json!(404)));
    let wrong = system.send(Method::DELETE, "/api/v1/specialties", None, None).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED, "{wrong:?}");
    let wrong = system.send(Method::GET, "/api/v1/auth/login", None, None).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED, "{wrong:?}");
    // Not the execution `redrive`.
    let wrong = system.send(Method::GET, "/api/v1/executions/redrive", None, None).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED, "{wrong:?}");
    assert_eq!(system.stop().await, Some(0));
}
