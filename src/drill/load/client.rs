//! Requests over HTTP, each written down with what came back and how long that took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::drill::record::{Answer, Kind, Outcome, Reading, Sent};
use crate::drill::recorder::Recorder;

/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a repeated key may wait for the first one with it.
const KEY_PATIENCE: Duration = Duration::from_secs(5);
/// A client that hangs up does so within this, in milliseconds.
const HANGS_UP_WITHIN: u64 = 40;

/// A command as it is to be sent.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who sends it, with their token.
    pub user: Option<(Uuid, String)>,
    /// What it is to do.
    pub kind: Kind,
    /// The HTTP method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The thing in the path.
    pub about: Option<Uuid>,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
    /// The text in the body by which it is known.
    pub marker: Option<String>,
    /// The version in `If-Match`.
    pub if_match: Option<i64>,
    /// The body.
    pub body: Value,
    /// Whether it may be accepted at all.
    pub is_valid: bool,
}

/// A query as it is to be sent.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks, and with which token.
    pub user: (Uuid, String),
    /// Whether they see everybody's executions.
    pub is_admin: bool,
    /// The path.
    pub path: String,
    /// Whose private row is asked for.
    pub owner: Option<Uuid>,
    /// `Prefer: wait`, in seconds.
    pub wait: Option<u64>,
    /// How long the answer may take because of what was asked.
    pub patience: Duration,
}

/// An answer as far as the load goes on with it.
#[derive(Clone, Debug)]
pub struct Replied {
    /// The HTTP status.
    pub status: u16,
    /// The body, null where it is no JSON.
    pub body: Value,
}

/// The client of all users.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    commands: Arc<[String]>,
    queries: Arc<[String]>,
    recorder: Arc<Recorder>,
    hang_ups: Arc<AtomicBool>,
}

impl Client {
    /// One that reaches these base URLs.
    pub fn new(
        commands: Vec<String>,
        queries: Vec<String>,
        recorder: Arc<Recorder>,
        hang_ups: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
        Ok(Self { http, commands: commands.into(), queries: queries.into(), recorder, hang_ups })
    }

    /// Where everything is written down.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The HTTP client itself, and the base URL of a query API, for what is no plain request.
    pub fn plain(&self, rng: &mut StdRng) -> (&reqwest::Client, &str) {
        (&self.http, &self.queries[rng.random_range(0..self.queries.len())])
    }

    /// Sends a command to one of the command APIs and writes it down.
    pub async fn command(&self, order: &Order, rng: &mut StdRng) -> Outcome {
        let process = rng.random_range(0..self.commands.len());
        let trace = format!("{:032x}", rng.random::<u128>() | 1);
        let parent = format!("00-{trace}-{:016x}-01", rng.random::<u64>() | 1);
        let url = format!("{}{}", self.commands[process], order.path);
        let mut request = self.http.request(order.method.clone(), url).json(&order.body).header("traceparent", parent);
        if let Some((_, token)) = &order.user {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &order.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(version) = order.if_match {
            request = request.header("if-match", format!("\"{version}\""));
        }
        let patience = order.key.as_ref().map_or(Duration::ZERO, |_| KEY_PATIENCE);
        let at = Instant::now();
        let replied = self.send(request, true, process, patience, rng).await;
        let outcome = outcome(replied);
        self.recorder.note().sent.push(Sent {
            user: order.user.as_ref().map(|(id, _)| *id),
            method: if order.method == Method::PATCH { "PATCH" } else { "POST" },
            path: order.path.clone(),
            about: order.about,
            key: order.key.clone(),
            kind: order.kind,
            marker: order.marker.clone(),
            trace,
            is_valid: order.is_valid,
            outcome: outcome.clone(),
            at,
        });
        outcome
    }

    /// Logs in: the token.
    pub async fn login(&self, email: &str, password: &str, rng: &mut StdRng) -> Option<String> {
        let process = rng.random_range(0..self.commands.len());
        let body = serde_json::json!({ "email": email, "password": password });
        let request = self.http.post(format!("{}/api/v1/auth/login", self.commands[process])).json(&body);
        let (replied, _) = self.send(request, true, process, Duration::ZERO, rng).await.ok()?;
        let token = replied.body["access_token"].as_str()?.to_owned();
        let refresh = replied.body["refresh_token"].as_str()?.to_owned();
        let secrets = [("an access token", token.clone()), ("a refresh token", refresh)];
        let secrets = secrets.map(|(what, text)| crate::drill::record::Secret { what, text });
        self.recorder.note().secrets.extend(secrets);
        Some(token)
    }

    /// Asks one of the query APIs and writes down whose rows it showed.
    pub async fn query(&self, question: &Question, rng: &mut StdRng) -> Option<Replied> {
        let process = rng.random_range(0..self.queries.len());
        let mut request =
            self.http.get(format!("{}{}", self.queries[process], question.path)).bearer_auth(&question.user.1);
        if let Some(seconds) = question.wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let (replied, _) = self.send(request, false, process, question.patience, rng).await.ok()?;
        self.recorder.note().readings.push(Reading {
            asker: question.user.0,
            is_admin: question.is_admin,
            path: question.path.clone(),
            owner: question.owner,
            status: replied.status,
            seen: owners(&replied.body),
        });
        Some(replied)
    }

    /// Sends it and writes down how it was answered. An error says why nothing came back.
    async fn send(
        &self,
        request: RequestBuilder,
        is_command: bool,
        process: usize,
        patience: Duration,
        rng: &mut StdRng,
    ) -> Result<(Replied, HeaderMap), String> {
        let hangs_up = rng.random_bool(if self.hang_ups.load(Ordering::Relaxed) { 0.5 } else { 0.02 });
        let limit =
            if hangs_up { Duration::from_millis(rng.random_range(0..HANGS_UP_WITHIN)) } else { PATIENCE + patience };
        let at = Instant::now();
        let replied = timeout(limit, async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let bytes = answer.bytes().await?;
            reqwest::Result::Ok((status, headers, bytes))
        })
        .await;
        let given_up = replied.is_err();
        let replied = match replied {
            Err(_) if hangs_up => Err("the client hung up".to_owned()),
            Err(_) => Err("the client's time was over".to_owned()),
            Ok(Err(error)) => Err(chain(&error)),
            Ok(Ok((status, headers, bytes))) => {
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                Ok((Replied { status, body }, headers))
            }
        };
        let seen = replied.as_ref().ok();
        self.recorder.note().answers.push(Answer {
            command: is_command,
            process,
            at,
            took: at.elapsed(),
            patience,
            status: seen.map(|(replied, _)| replied.status),
            given_up,
            retry_after: seen.is_some_and(|(_, headers)| headers.contains_key(RETRY_AFTER)),
            well_formed: seen.is_none_or(|(replied, headers)| is_well_formed(replied, headers)),
        });
        replied
    }
}

/// Whether an error is a problem that says of itself which.
fn is_well_formed(Replied { status, body }: &Replied, headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_problem = kind.starts_with("application/problem+json") && body["status"] == *status;
    *status < 400 || is_problem && body["code"].is_string()
}

fn outcome(replied: Result<(Replied, HeaderMap), String>) -> Outcome {
    let (Replied { status, body }, headers) = match replied {
        Ok(replied) => replied,
        Err(why) => return Outcome::Unknown { why },
    };
    let code = || body["code"].as_str().unwrap_or_default().to_owned();
    match status {
        400..500 => Outcome::Refused { status, code: code() },
        200..300 => {
            let id = body["id"].as_str().and_then(|id| id.parse().ok());
            let (version, position) = (body["version"].as_i64(), body["position"].as_i64());
            match (id, version, position) {
                (Some(id), Some(version), Some(position)) => {
                    let replayed = headers.get("idempotent-replayed").is_some_and(|value| value == "true");
                    Outcome::Accepted { status, id, version, position, replayed }
                }
                _ => Outcome::Unknown { why: format!("{status} without a receipt: {body}") },
            }
        }
        _ => Outcome::Unknown { why: format!("{status} {}", code()) },
    }
}

/// Whose private rows are in an answer.
fn owners(body: &Value) -> Vec<Uuid> {
    let rows: Vec<&Value> = match body["items"].as_array() {
        Some(items) => items.iter().collect(),
        None => vec![body],
    };
    let private = rows.into_iter().filter(|row| row["is_public"] != true);
    private.filter_map(|row| row["user_id"].as_str()?.parse().ok()).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
