//! The sealed log from outside: heads heard on NATS, a receipt checked without a database, the log verified while it runs,
//! after a crash, and after somebody has rewritten an event.

use std::path::Path;
use std::process::{Output, Stdio};

use events::seal::{Keys, SignedHead};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use service::testkit;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{
    story::reader,
    system::{PATIENCE, System},
};

/// Runs the program in `folder`, where a system keeps its data.
async fn daybook(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.args(arguments).current_dir(folder).env_clear().env("DAYBOOK_DATA", folder.join("data"));
    timeout(PATIENCE, command.stdin(Stdio::null()).output()).await.unwrap().unwrap()
}

/// What it printed, a JSON value a line, and whether it ended well.
async fn told(folder: &Path, arguments: &[&str]) -> (bool, Vec<Value>) {
    let output = daybook(folder, arguments).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), lines)
}

fn endpoints(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("data/endpoints.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_can_be_proven_and_what_was_rewritten_is_found() {
    let folder = testkit::folder("sealed");
    let system = System::start(&folder, &[("DAYBOOK_SEAL_INTERVAL", "100ms".to_owned())]).await;
    let bus = reader(&system.nats_url).await;
    let mut heads = bus.subscribe("ops.log.head").await.unwrap();
    bus.flush().await.unwrap();
    let ada = system.user("ada").await;
    let sub = system.catalogue(&ada).await;
    let prompt = system.prompt(&ada, &sub, "echo", "echo").await;
    let execution = system.execute(&ada, &prompt, "Ada").await;
    system.outcome(&ada, &execution).await;

    // How it was, and that the last of it is what the read model says, which came another way.
    let path = format!("/api/v1/executions/{execution}");
    let now = system.query(&path, &ada).await;
    let position = now["position"].as_i64().unwrap();
    assert_eq!(system.query(&format!("{path}?as_of={position}"), &ada).await, now);
    let requested = system.query(&format!("{path}?as_of={}", now["created_at"].as_str().unwrap()), &ada).await;
    assert_eq!((&requested["status"], &requested["version"]), (&json!("queued"), &json!(1)));
    for path in [format!("/api/v1/expert-prompts/{prompt}"), "/api/v1/auth/me".to_owned()] {
        assert_eq!(system.query(&format!("{path}?as_of={position}"), &ada).await, system.query(&path, &ada).await);
    }

    // The receipt, on a machine that has nothing else.
    let receipt = system.query(&format!("/api/v1/executions/{execution}/receipt"), &ada).await;
    let pem = reqwest::get(format!("{}/api/v1/log/key", system.http)).await.unwrap().text().await.unwrap();
    let desk = testkit::folder("desk");
    std::fs::write(desk.join("receipt.json"), receipt.to_string()).unwrap();
    std::fs::write(desk.join("key.pem"), &pem).unwrap();
    std::fs::write(desk.join("forged.json"), receipt.to_string().replace("Say hello to Ada", "Say hello to Eve"))
        .unwrap();
    let verify = ["receipt", "verify", "receipt.json", "--key", "key.pem", "--json"];
    let (well, lines) = told(&desk, &verify).await;
    assert!(well && lines[0]["proven"] == true && lines[0]["events"].as_array().unwrap().len() == 4, "{lines:?}");
    let (well, lines) = told(&desk, &["receipt", "verify", "forged.json", "--key", "key.pem", "--json"]).await;
    assert!(!well && lines[0]["why"].as_str().unwrap().contains("is not in the log"), "{lines:?}");
    for (arguments, names) in [
        (["receipt", "verify", "nothing.json", "--key", "key.pem"], "nothing.json"),
        (["receipt", "verify", "receipt.json", "--key", "receipt.json"], "BEGIN PUBLIC KEY"),
        (["receipt", "verify", "key.pem", "--key", "key.pem"], "key.pem is no receipt"),
    ] {
        let output = daybook(&desk, &arguments).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(names), "{said}");
    }

    // A head as it was heard.
    let heard = timeout(PATIENCE, heads.next()).await.unwrap().unwrap();
    let heard: SignedHead = serde_json::from_slice(&heard.payload).unwrap();
    assert!(Keys::from_pem(&pem).unwrap().verify(&heard));

    let (well, lines) = told(&folder, &["log", "verify", "--json"]).await;
    assert!(well && lines.len() == 1 && lines[0]["summary"]["well"] == true, "{lines:?}");
    let summary = &lines[0]["summary"];
    assert_eq!((&summary["stream"], &summary["notes"]), (&json!("EVENTS_1"), &json!([])), "{summary}");
    assert_eq!(summary["messages"], summary["events"]);

    system.kill().await;
    let system = System::start(&folder, &[("DAYBOOK_SEAL_INTERVAL", "100ms".to_owned())]).await;
    let again = system.execute(&ada, &prompt, "Bob").await;
    system.outcome(&ada, &again).await;
    // By then a head covers it.
    system.query(&format!("/api/v1/executions/{again}/receipt"), &ada).await;
    let (well, lines) = told(&folder, &["log", "verify", "--json"]).await;
    assert!(well, "{lines:?}");
    let since = heard.head.size;
    let last = system.query(&format!("/api/v1/log/head?since={since}"), &ada).await;
    assert!(last["consistency"].is_array() && last["head"]["size"].as_i64().unwrap() > since, "{last}");

    // Somebody rewrites who asked, and the hash with it.
    let database = endpoints(&folder)["database_owner_url"].as_str().unwrap().to_owned();
    let mut database = PgConnection::connect(&database).await.unwrap();
    let rewrite = r#"alter table event disable trigger user;
        update event set data = replace(data::text, 'Ada', 'Eve')::json where kind = 'execution_requested' and version = 1
            and position = (select min(position) from event where kind = 'execution_requested');
        update event set hash = sha256(convert_to(concat_ws(E'\n', event_id, stream, id, version, kind, schema,
            coalesce(scope::text, ''), to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            encode(sha256(convert_to(data::text, 'utf8')), 'hex'), encode(sha256(convert_to(meta::text, 'utf8')), 'hex')),
            'utf8')) where kind = 'execution_requested';
        alter table event enable trigger user"#;
    database.execute(rewrite).await.unwrap();
    let position = receipt["events"][0]["position"].clone();
    let (well, lines) = told(&folder, &["log", "verify", "--json"]).await;
    let first = &lines.last().unwrap()["summary"]["first"];
    assert!(!well && *first == json!({ "what": "changed", "position": position, "until": null }), "{lines:#?}");
    let text = String::from_utf8(daybook(&folder, &["log", "verify"]).await.stdout).unwrap();
    let told = format!("The first event that is not what it was: position {position}, changed");
    assert!(text.contains(&told), "{text}");
    let answer = system.send(Method::GET, &format!("/api/v1/executions/{execution}/receipt"), Some(&ada), None).await;
    assert_eq!(answer.status, 500, "no receipt of what is not what it was: {answer:?}");
    assert_eq!(system.stop().await, Some(0));
    // Without a system there is nothing to look at, and that is said.
    let output = daybook(&folder, &["log", "verify"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("no `daybook up` is running here"), "{said}");
}
