//! PostgreSQL or NATS away: commands say so in time, and are taken in again afterwards.

use std::time::{Duration, Instant};

use poem::{Endpoint as _, Request};
use serde_json::{Value, json};
use service::{embedded::Durability, testkit};

use super::house::{Actor, House, Told, house, house_on};

async fn ready(house: &House) -> (u16, Value) {
    let told = Told::of(house.app.get_response(Request::builder().uri_str("/health/ready").finish()).await).await;
    (told.status.as_u16(), told.body)
}

/// Every command, some of which need not get as far as writing.
async fn refused_in_time(actor: &Actor) {
    let named = |name: &str| json!({ "name": name, "description": "" });
    let started = Instant::now();
    let credentials = json!({ "email": "admin@example.com", "password": "correct horse battery" });
    let registration = json!({ "email": "b@example.com", "username": "b", "password": "correct horse battery" });
    let execute = format!("/execute-prompt/{}", uuid::Uuid::nil());
    let told = tokio::join!(
        actor.post("/specialties", named("Neurology")),
        actor.keyed("key", "/specialties", named("Neurology")),
        actor.post("/auth/login", credentials),
        actor.post("/auth/register", registration),
        actor.post(&execute, json!({ "variables": {} })),
    );
    for told in [told.0, told.1, told.2, told.3, told.4] {
        assert_eq!(told.status, 503, "{}", told.line());
        assert!(told.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn while_postgresql_is_stopped_commands_are_refused_in_time() {
    let server = testkit::own_postgres(Durability::Off).await;
    let house = house_on(&server).await;
    let admin = house.user("admin").await;
    assert_eq!(ready(&house).await, (200, json!({ "status": "ready", "degraded": ["nats"] })));
    server.stop().await;
    refused_in_time(&admin).await;
    // Nor does it take longer for who waits for another with the same key first.
    let started = Instant::now();
    let twice = || admin.keyed("twice", "/specialties", json!({ "name": "Neurology", "description": "" }));
    let (one, other) = tokio::join!(twice(), twice());
    assert!(one.status == 503 && other.status == 503, "{} {}", one.line(), other.line());
    assert!(started.elapsed() < Duration::from_millis(5_500), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(ready(&house).await.0, 503);
    assert!(started.elapsed() < Duration::from_millis(1_500));
    server.restart().await.unwrap();
    let told = admin.keyed("key", "/specialties", json!({ "name": "Neurology", "description": "" })).await;
    assert_eq!(told.status, 201, "{}", told.line());
    assert_eq!(told.header("idempotent-replayed"), None, "what was refused has not been recorded");
    assert_eq!(ready(&house).await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn while_postgresql_does_not_answer_commands_are_refused_in_time() {
    let server = testkit::own_postgres(Durability::Off).await;
    let house = house_on(&server).await;
    let admin = house.user("admin").await;
    server.freeze();
    refused_in_time(&admin).await;
    server.thaw();
    server.stop().await;
}

#[tokio::test]
async fn while_nats_is_away_commands_are_taken_in() {
    let house = house().await;
    let admin = house.user("admin").await;
    let told = admin.post("/specialties", json!({ "name": "Neurology", "description": "" })).await;
    assert_eq!(told.status, 201);
    assert_eq!(ready(&house).await, (200, json!({ "status": "ready", "degraded": ["nats"] })));
}
