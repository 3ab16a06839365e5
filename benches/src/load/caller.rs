//! Somebody who runs prompts, alone or as many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Connection, get, post};

/// An ordinary user with a prompt. Clones are the same.
#[derive(Clone, Debug)]
pub struct Caller {
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

/// What many callers got done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Executions that have succeeded.
    pub executions: usize,
    /// So many a second.
    pub rate: f64,
}

#[derive(Deserialize)]
struct Made {
    id: Uuid,
}

impl Caller {
    /// Registers an admin, who makes a catalogue, and a user, who writes a prompt for it.
    pub async fn enter(commands: SocketAddr, queries: SocketAddr) -> anyhow::Result<Self> {
        let mut api = Connection::open(commands).await?;
        let (_, admin) = register(&mut api, "ada").await?;
        let specialty = json!({ "name": "Cardiology", "description": "The heart." });
        let specialty = command(&mut api, "/api/v1/specialties", Some(&admin), specialty).await?;
        let sub = json!({ "specialty_id": specialty, "name": "Rhythm", "description": "Its beat." });
        let sub = command(&mut api, "/api/v1/sub-specialties", Some(&admin), sub).await?;
        let (user, token) = register(&mut api, "bob").await?;
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
        let prompt = command(&mut api, "/api/v1/expert-prompts", Some(&token), prompt).await?;
        Ok(Self { commands, queries, user, token, prompt })
    }

    /// The command that runs the prompt, as bytes.
    pub fn submit(&self) -> Vec<u8> {
        let variables = json!({ "age": 54, "question": "What may be the cause of palpitations at night?" });
        let body = json!({ "variables": variables }).to_string();
        post(&format!("/api/v1/execute-prompt/{}", self.prompt), Some(&self.token), &body)
    }

    /// Connections to both APIs.
    pub async fn connect(&self) -> anyhow::Result<[Connection; 2]> {
        Ok([Connection::open(self.commands).await?, Connection::open(self.queries).await?])
    }

    /// Runs the prompt: from sending the command to the answer that shows that it has succeeded.
    pub async fn execute(&self, [commands, queries]: &mut [Connection; 2], submit: &[u8]) -> anyhow::Result<()> {
        let made: Made = serde_json::from_slice(commands.send(submit).await?.good()?)?;
        let path = format!("/api/v1/executions/{}", made.id);
        let answer = queries.send(&get(&path, &self.token, "prefer: wait=30\r\n")).await?;
        let body = answer.good()?;
        let shown = b"\"status\":\"succeeded\"";
        if !body.windows(shown.len()).any(|window| window == shown) {
            anyhow::bail!("not succeeded: {}", String::from_utf8_lossy(body));
        }
        Ok(())
    }

    /// What `callers` get done in this time, each of whom waits for one execution before the next is requested.
    pub async fn throughput(&self, callers: u32, time: Duration) -> anyhow::Result<Done> {
        let (over, submit) = (Arc::new(AtomicBool::new(false)), Arc::new(self.submit()));
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(self.connect().await?);
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for mut both in connections {
            let (over, submit, caller) = (over.clone(), submit.clone(), self.clone());
            tasks.spawn(async move {
                let mut executions = 0;
                while !over.load(Ordering::Relaxed) {
                    caller.execute(&mut both, &submit).await?;
                    executions += 1;
                }
                anyhow::Ok(executions)
            });
        }
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
        let mut executions = 0;
        while let Some(done) = tasks.join_next().await {
            executions += done??;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let rate = executions as f64 / start.elapsed().as_secs_f64();
        Ok(Done { executions, rate })
    }
}

/// A new user's id and access token.
async fn register(api: &mut Connection, name: &str) -> anyhow::Result<(Uuid, String)> {
    let (email, password) = (format!("{name}@example.com"), format!("password of {name}"));
    let new = json!({ "email": email, "username": name, "password": password });
    let id = command(api, "/api/v1/auth/register", None, new).await?;
    let login = json!({ "email": email, "password": password }).to_string();
    let answer = api.send(&post("/api/v1/auth/login", None, &login)).await?;
    let answer: Value = serde_json::from_slice(answer.good()?)?;
    Ok((id, answer["access_token"].as_str().context("a token")?.to_owned()))
}

async fn command(api: &mut Connection, path: &str, token: Option<&str>, body: Value) -> anyhow::Result<Uuid> {
    let answer = api.send(&post(path, token, &body.to_string())).await?;
    let made: Made = serde_json::from_slice(answer.good().with_context(|| format!("POST {path}"))?)?;
    Ok(made.id)
}
