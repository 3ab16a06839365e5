//! The role in its frame, and the people who call it.

use std::sync::Arc;

use command_api::{Parts, api};
use events::Store;
use poem::{
    Endpoint as _, Request, Response,
    http::{HeaderMap, Method, StatusCode},
};
use serde_json::{Value, json};
use service::{
    db::{self, Kind},
    embedded::Postgres,
    http::{self, App, Chassis, Origins},
    lifecycle::Lifecycle,
    process, testkit,
    testkit::Database,
};
use uuid::Uuid;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const PASSWORD: &str = "correct horse battery";

/// One command API on a database of its own.
#[derive(Clone)]
pub struct House {
    pub app: Arc<App>,
    pub store: Store,
    pub database: Database,
}

pub async fn house() -> House {
    house_in(testkit::database().await).await
}

pub async fn house_on(server: &Arc<Postgres>) -> House {
    house_in(testkit::database_on(server).await).await
}

/// Another process on the same database, as far as the log can tell.
pub async fn house_in(database: Database) -> House {
    house_sealed(database, command_api::Sealing::default()).await
}

/// The same, which seals the log.
pub async fn house_sealed(database: Database, sealing: command_api::Sealing) -> House {
    let lifecycle = Lifecycle::new();
    let pool = db::pool(&database.url, Kind::Commands).unwrap();
    let store = process::open_store_on(&pool, &lifecycle);
    let bus = nats::Bus::connect("nats://127.0.0.1:1", "test").await.unwrap();
    let health = db::pool(&database.url, Kind::Health).unwrap();
    let relay = db::pool(&database.url, Kind::Relay).unwrap();
    let api = api(
        Parts {
            store: store.clone(),
            bus,
            relay,
            relaying: command_api::Relaying::default(),
            timing: command_api::Timing::default(),
            seal: db::pool(&database.url, Kind::Seal).unwrap(),
            sealing,
            health,
            secret: SECRET.to_vec(),
        },
        &lifecycle,
    )
    .unwrap();
    let chassis = Chassis {
        document: Some(http::merge(&[api.spec]).unwrap()),
        secret: Some(SECRET.to_vec()),
        origins: Origins::default(),
        probe: api.probe,
        metrics: Arc::new(String::new),
    };
    let app = Arc::new(http::app(chassis, api.routes).unwrap());
    House { app, store, database }
}

/// A log on this database, as a process of this role has it.
pub fn store_on(database: &Database) -> Store {
    let pool = db::pool(&database.url, Kind::Commands).unwrap();
    process::open_store_on(&pool, &Lifecycle::new())
}

/// Somebody who calls.
#[derive(Clone)]
pub struct Actor {
    pub house: House,
    pub id: Uuid,
    pub token: Option<String>,
}

impl House {
    /// Somebody without a token.
    pub fn anon(&self) -> Actor {
        Actor { house: self.clone(), id: Uuid::nil(), token: None }
    }

    /// Registers and logs in. The first one is an admin.
    pub async fn user(&self, name: &str) -> Actor {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "username": name, "password": PASSWORD });
        let registered = self.anon().post("/auth/register", body).await;
        assert_eq!(registered.status, 201, "{}", registered.body);
        let id = registered.id();
        let token = self.anon().post("/auth/login", json!({ "email": email, "password": PASSWORD })).await;
        let token = token.body["access_token"].as_str().unwrap().to_owned();
        Actor { house: self.clone(), id, token: Some(token) }
    }

    /// All kinds in the log, in order.
    pub async fn kinds(&self) -> Vec<String> {
        self.store.after(0, 1_000).await.unwrap().into_iter().map(|event| event.kind).collect()
    }

    /// An admin and a sub-specialty.
    pub async fn furnished(&self) -> (Actor, Uuid) {
        let admin = self.user("admin").await;
        let specialty = admin.post("/specialties", json!({ "name": "Cardiology", "description": "" })).await.id();
        let body = json!({ "specialty_id": specialty, "name": "Rhythm", "description": "" });
        let sub_specialty = admin.post("/sub-specialties", body).await.id();
        (admin, sub_specialty)
    }
}

impl Actor {
    /// The same person with the same token, elsewhere.
    pub fn at(&self, house: &House) -> Self {
        Self { house: house.clone(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> poem::RequestBuilder {
        let request = Request::builder().method(method).uri_str(format!("/api/v1{path}"));
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    pub async fn send(&self, request: Request) -> Told {
        Told::of(self.house.app.get_response(request).await).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Told {
        self.send(self.request(Method::POST, path).content_type("application/json").body(body.to_string())).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Told {
        self.send(self.request(Method::PATCH, path).content_type("application/json").body(body.to_string())).await
    }

    /// Posts with an `Idempotency-Key`.
    pub async fn keyed(&self, key: &str, path: &str, body: Value) -> Told {
        let request = self.request(Method::POST, path).header("idempotency-key", key).content_type("application/json");
        self.send(request.body(body.to_string())).await
    }

    /// A prompt of this user, with anything changed.
    pub async fn prompt(&self, sub_specialty: Uuid, change: impl FnOnce(&mut Value)) -> Told {
        let mut body = json!({
            "sub_specialty_id": sub_specialty,
            "title": "Explain",
            "content": "Explain {{ topic }}.",
            "variables": { "type": "object", "properties": { "topic": { "type": "string" } }, "required": ["topic"] },
            "llm_provider": "echo",
            "model": "any",
            "is_public": false,
        });
        change(&mut body);
        self.post("/expert-prompts", body).await
    }

    /// An execution of a prompt of this user.
    pub async fn execution(&self, sub_specialty: Uuid) -> Uuid {
        let prompt = self.prompt(sub_specialty, |_| {}).await.id();
        self.post(&format!("/execute-prompt/{prompt}"), json!({ "variables": { "topic": "tea" } })).await.id()
    }
}

/// An answer.
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Told {
    pub async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.into_bytes().await.unwrap();
        Self { status: parts.status, headers: parts.headers, body: serde_json::from_slice(&body).unwrap() }
    }

    pub fn id(&self) -> Uuid {
        self.body["id"].as_str().unwrap_or_else(|| panic!("{}", self.line())).parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, code, words and faults of a problem; status, version and place of anything else. No ids.
    pub fn line(&self) -> String {
        let status = self.status.as_u16();
        let Some(code) = self.body["code"].as_str() else {
            let id = self.body["id"].as_str().unwrap_or("-");
            let location = self.header("location").unwrap_or("-").replace(id, "{id}");
            return format!("{status} {location} version {}", self.body["version"]);
        };
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let faults =
            self.body["errors"].as_array().into_iter().flatten().map(|fault| {
                format!("\n    {} {}", fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap())
            });
        format!("{status} {code}: {}{}", self.body["detail"].as_str().unwrap(), faults.collect::<String>())
    }
}

/// What a table of answers says, one below the other.
pub fn table(rows: impl IntoIterator<Item = (&'static str, Told)>) -> String {
    rows.into_iter().map(|(name, told)| format!("{name}: {}\n", told.line())).collect()
}
