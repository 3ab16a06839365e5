//! A system with a catalogue, a user and a prompt in it.

use std::net::SocketAddr;

use anyhow::Context as _;
use daybook::system::provider::Provider;
use daybook::system::{Role, Setup, System, scratch, this_program};
use serde::Deserialize;
use serde_json::{Value, json};
use service::embedded::Durability;
use uuid::Uuid;

use super::{Connection, get, post};

/// A whole system as separate processes, through which an ordinary user runs prompts of a provider in this process.
#[derive(Debug)]
pub struct Stage {
    /// The system.
    pub system: System,
    /// The provider that its workers ask.
    pub provider: Provider,
    /// Where commands go.
    pub commands: SocketAddr,
    /// Where queries go.
    pub queries: SocketAddr,
    /// The user.
    pub user: Uuid,
    /// The user's access token.
    pub token: String,
    /// A prompt of the user's.
    pub prompt: Uuid,
}

#[derive(Deserialize)]
struct Made {
    id: Uuid,
}

impl Stage {
    /// Starts the system, with more in the environment of its processes, and brings everything in that an execution needs.
    pub async fn set(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let mut all = vec![("OPENAI_BASE_URL".to_owned(), provider.url())];
        all.push(("OPENAI_API_KEY".to_owned(), "sk-of-the-benches".to_owned()));
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let setup = Setup {
            program: this_program()?,
            folder: scratch("system"),
            durability: Durability::Full,
            environment: all,
        };
        let system = System::start(setup).await?;
        let commands = system.role(Role::CommandApi).addr();
        let queries = system.role(Role::QueryApi).addr();
        let Inhabitant { user, token, prompt } = inhabitant(commands, queries).await?;
        Ok(Self { system, provider, commands, queries, user, token, prompt })
    }

    /// How to log in to the database.
    pub fn database_url(&self) -> String {
        self.system.servers.postgres.url()
    }

    /// Stops everything.
    pub async fn clear(self) {
        self.system.stop().await;
    }
}

/// Somebody who may run a prompt.
pub(crate) struct Inhabitant {
    pub(crate) user: Uuid,
    pub(crate) token: String,
    pub(crate) prompt: Uuid,
}

/// Registers an admin, who makes a catalogue, and a user, who writes a prompt for it.
pub(crate) async fn inhabitant(commands: SocketAddr, queries: SocketAddr) -> anyhow::Result<Inhabitant> {
    let mut api = Connection::open(commands).await?;
    let admin = register(&mut api, "ada").await?;
    let specialty = json!({ "name": "Cardiology", "description": "The heart." });
    let specialty = command(&mut api, "/api/v1/specialties", Some(&admin.token), specialty).await?;
    let sub = json!({ "specialty_id": specialty, "name": "Rhythm", "description": "Its beat." });
    let sub = command(&mut api, "/api/v1/sub-specialties", Some(&admin.token), sub).await?;
    let user = register(&mut api, "bob").await?;
    let prompt = json!({
        "sub_specialty_id": sub,
        "title": "A question",
        "content": "A patient of {{ age }} years asks: {{ question }} Answer in one sentence.",
        "variables": {
            "type": "object",
            "properties": { "age": { "type": "integer" }, "question": { "type": "string" } },
            "required": ["age", "question"],
        },
        "llm_provider": "openai",
        "model": "gpt-4o-mini",
        "is_public": false,
    });
    let prompt = command(&mut api, "/api/v1/expert-prompts", Some(&user.token), prompt).await?;
    // The read models are there when the last of it is.
    let path = format!("/api/v1/expert-prompts/{prompt}?min_position=1");
    let mut reads = Connection::open(queries).await?;
    while reads.send(&get(&path, Some(&user.token), "")).await?.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(Inhabitant { user: user.id, token: user.token, prompt })
}

struct User {
    id: Uuid,
    token: String,
}

async fn register(api: &mut Connection, name: &str) -> anyhow::Result<User> {
    let (email, password) = (format!("{name}@example.com"), format!("password of {name}"));
    let new = json!({ "email": email, "username": name, "password": password });
    let id = command(api, "/api/v1/auth/register", None, new).await?;
    let login = json!({ "email": email, "password": password }).to_string();
    let answer = api.send(&post("/api/v1/auth/login", None, &login)).await?;
    let answer: Value = serde_json::from_slice(answer.good()?)?;
    Ok(User { id, token: answer["access_token"].as_str().context("a token")?.to_owned() })
}

async fn command(api: &mut Connection, path: &str, token: Option<&str>, body: Value) -> anyhow::Result<Uuid> {
    let answer = api.send(&post(path, token, &body.to_string())).await?;
    let made: Made = serde_json::from_slice(answer.good().with_context(|| format!("POST {path}"))?)?;
    Ok(made.id)
}

/// Runs a prompt: from sending the command to the answer that shows that it has succeeded.
pub async fn execute(
    commands: &mut Connection,
    queries: &mut Connection,
    submit: &[u8],
    token: &str,
) -> anyhow::Result<()> {
    let made: Made = serde_json::from_slice(commands.send(submit).await?.good()?)?;
    let path = format!("/api/v1/executions/{}", made.id);
    let answer = queries.send(&get(&path, Some(token), "prefer: wait=30\r\n")).await?;
    let body = answer.good()?;
    let shown = b"\"status\":\"succeeded\"";
    if !body.windows(shown.len()).any(|window| window == shown) {
        anyhow::bail!("not succeeded: {}", String::from_utf8_lossy(body));
    }
    Ok(())
}

impl Stage {
    /// The command that runs the prompt, as bytes.
    pub fn submit(&self) -> Vec<u8> {
        submit(self.prompt, &self.token)
    }
}

pub(crate) fn submit(prompt: Uuid, token: &str) -> Vec<u8> {
    let variables = json!({ "age": 54, "question": "What may be the cause of palpitations at night?" });
    let body = json!({ "variables": variables }).to_string();
    post(&format!("/api/v1/execute-prompt/{prompt}"), Some(token), &body)
}
