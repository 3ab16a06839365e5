//! Passwords and keys are in no log and on no terminal, however much is logged; the one file that has them is the owner's alone.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use daybook::system::{Role, Setup, System};
use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use service::embedded::Durability;
use service::testkit;
use tokio::process::Command;
use tokio::time::timeout;

use crate::system::{PATIENCE, path_with_servers};

/// Settings of other servers than our own.
const SETTINGS: [(&str, &str); 4] = [
    ("OPENAI_API_KEY", "sk-key-in-a-setting-6b0c"),
    ("OPENAI_BASE_URL", "http://someone:password-of-the-provider@127.0.0.1:1/v1"),
    ("ANTHROPIC_API_KEY", "sk-ant-key-in-a-setting-77"),
    ("RUST_LOG", "trace"),
];
const IN_SETTINGS: [&str; 3] = ["sk-key-in-a-setting-6b0c", "password-of-the-provider", "sk-ant-key-in-a-setting-77"];

/// The secrets that are kept in a data folder, by the names of their files.
fn kept(folder: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let read = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let text = std::fs::read_to_string(file.path()).ok()?;
        let is_secret = text.trim().len() == 64 && text.trim().chars().all(|c| c.is_ascii_hexdigit());
        is_secret.then(|| (name, text.trim().to_owned()))
    });
    read.collect()
}

/// Nothing of `secrets` is in the text.
fn check(name: &str, text: &str, secrets: &BTreeMap<String, String>) {
    assert!(text.len() > 100, "{name} says something: {text}");
    for (what, secret) in secrets {
        let line = text.lines().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{name} shows {what}: {line:?}");
    }
    for secret in IN_SETTINGS {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{name} shows {secret}: {line:?}");
    }
}

#[tokio::test]
async fn a_whole_system_that_logs_everything_shows_no_secret() {
    let folder = testkit::folder("secrets");
    let data = folder.join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.current_dir(&folder).arg("up").env_clear().env("PATH", path_with_servers(&folder).await);
    let output = |name: &str| std::fs::File::create(folder.join(name)).unwrap();
    command
        .env("DAYBOOK_DATA", &data)
        .envs([("HTTP_ADDR", "127.0.0.1:0"), ("POSTGRES_ADDR", "127.0.0.1:0"), ("NATS_ADDR", "127.0.0.1:0")])
        .envs(SETTINGS)
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let file = data.join("endpoints.json");
    let published = async {
        while !file.exists() {
            assert_eq!(child.try_wait().unwrap(), None, "{}", std::fs::read_to_string(folder.join("stderr")).unwrap());
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, published).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let endpoints: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(
        endpoints["nats_url"].as_str().unwrap().starts_with("nats://reader:"),
        "the file has the reader's password"
    );

    // An execution is tried at the provider, whose key and password are used for it.
    let http = endpoints["http"].as_str().unwrap();
    let client = Client::new();
    let post = async |path: &str, token: &str, body: Value| -> Value {
        let request = client.post(format!("{http}/api/v1{path}")).bearer_auth(token).json(&body);
        let answer = timeout(PATIENCE, request.send()).await.unwrap().unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.unwrap()
    };
    let login = json!({ "email": "me@example.org", "username": "me", "password": "password of a person" });
    post("/auth/register", "", login.clone()).await;
    let token = post("/auth/login", "", json!({ "email": login["email"], "password": login["password"] })).await;
    let token = token["access_token"].as_str().unwrap();
    let specialty = post("/specialties", token, json!({ "name": "a", "description": "b" })).await;
    let sub = json!({ "specialty_id": specialty["id"], "name": "a", "description": "b" });
    let sub = post("/sub-specialties", token, sub).await;
    let prompt = json!({ "sub_specialty_id": sub["id"], "title": "a", "content": "hello", "variables": { "type": "object" },
        "llm_provider": "openai", "model": "gpt-4o", "is_public": false });
    let prompt = post("/expert-prompts", token, prompt).await;
    let path = format!("/execute-prompt/{}", prompt["id"].as_str().unwrap());
    let execution = post(&path, token, json!({ "variables": {} })).await;
    let events = format!("{http}/api/v1/executions/{}/events", execution["id"].as_str().unwrap());
    let tried = async {
        loop {
            let answer = client.get(&events).bearer_auth(token).send().await.unwrap();
            if answer.text().await.unwrap().contains("execution_attempt_failed") {
                break;
            }
        }
    };
    timeout(PATIENCE, tried).await.unwrap();

    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    let mut secrets = kept(&data);
    assert!(secrets.len() >= 8, "{:?}", secrets.keys());
    secrets.insert("the password of a person".to_owned(), "password of a person".to_owned());
    let elsewhere = std::fs::read_to_string(data.join("postgres-home")).ok();
    let servers = elsewhere.map_or(data, |home| home.trim().into());
    for log in [
        folder.join("stdout"),
        folder.join("stderr"),
        servers.join("nats/server.log"),
        servers.join("postgres/server.log"),
    ] {
        check(&log.display().to_string(), &std::fs::read_to_string(&log).unwrap(), &secrets);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_that_logs_everything_shows_no_secret() {
    let folder = testkit::folder("secrets of roles");
    let environment = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let program = env!("CARGO_BIN_EXE_daybook").into();
    let setup = Setup { program, folder: folder.clone(), durability: Durability::Off, environment };
    let system = System::start(setup).await.unwrap();
    system.stop().await;
    let secrets = kept(&folder);
    assert!(secrets.len() >= 8, "{:?}", secrets.keys());
    for role in Role::ALL {
        check(role.name(), &std::fs::read_to_string(system.role(role).log()).unwrap(), &secrets);
    }
}
