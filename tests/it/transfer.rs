//! A log that moves from one system to another: exported while it is written, taken in by a system that has none, all rows the
//! same; and what is refused.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::testkit;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{
    story::reader,
    system::{PATIENCE, System},
};

/// Everything that queries read.
const TABLES: [&str; 6] = ["user_account", "specialty", "sub_specialty", "prompt", "prompt_version", "execution"];

/// Runs `daybook log` in `folder`, beside a system that keeps its data there.
pub async fn log(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.arg("log").args(arguments).current_dir(folder).env_clear().env("DAYBOOK_DATA", folder.join("data"));
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// What it said when it refused.
async fn refused(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = log(folder, arguments, environment).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The last JSON object that it printed; it must have succeeded.
async fn told(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let output = log(folder, arguments, environment).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The database of the system in `folder`.
pub async fn database(folder: &Path) -> PgConnection {
    let endpoints: Value = serde_json::from_slice(&std::fs::read(folder.join("data/endpoints.json")).unwrap()).unwrap();
    PgConnection::connect(endpoints["database_url"].as_str().unwrap()).await.unwrap()
}

/// The rows of all read models, once each projection has come to the log's end.
pub async fn rows(database: &mut PgConnection) -> BTreeMap<&'static str, Vec<String>> {
    let behind = "select exists (select from read.checkpoint where position <> (select max(position) from event))
                  or (select count(*) from read.checkpoint) < 4";
    let wait = async {
        while sqlx::query_scalar(behind).fetch_one(&mut *database).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
    let mut all = BTreeMap::new();
    for table in TABLES {
        let sql = format!("select t::text from read.{table} t order by 1");
        all.insert(table, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *database).await.unwrap());
    }
    all
}

const SECRET: (&str, &str) = ("DAYBOOK_PASSPHRASE", "correct horse battery");

/// What is refused leaves nothing behind.
async fn what_cannot_be_exported(here: &Path, end: i64) {
    let past = (end + 1).to_string();
    for (arguments, why) in [
        (&["--from", "5", "--to", "4"][..], "--from 5 is after --to 4"),
        (&["--to", &past], "is past the end of the log, which is at"),
        (&["--out", "log.zst"], "log.zst is there already"),
        (&["--out", "no/where"], "no/where cannot be written"),
        (&["--out", "new", "--credentials", "more"], "no passphrase"),
    ] {
        let said = refused(here, &[&["export"][..], arguments].concat(), &[]).await;
        assert!(said.contains(why), "{said}");
    }
    let short = ["export", "--out", "new", "--credentials", "more"];
    let said = refused(here, &short, &[("DAYBOOK_PASSPHRASE", "short")]).await;
    assert!(said.contains("at least 8"), "{said}");
    assert!(!here.join("new").exists() && !here.join("more").exists());
    let mut full = Command::new("sh");
    full.args(["-c", "exec \"$0\" log export >/dev/full", env!("CARGO_BIN_EXE_daybook")])
        .current_dir(here)
        .env_clear()
        .env("DAYBOOK_DATA", here.join("data"));
    let full = full.output().await.unwrap();
    let said = String::from_utf8(full.stderr).unwrap();
    assert!(!full.status.success() && said.contains("standard output cannot be written: No space left"), "{said}");
}

const WITH: [&str; 4] = ["import", "log.zst", "--credentials", "credentials"];

/// What is refused leaves the database, `target`, empty.
async fn what_cannot_be_imported(there: &Path, target: &mut PgConnection, compressed: &[u8], text: &str) {
    let count = "select (select count(*) from event) + (select count(*) from claim) + (select count(*) from secret)
                 + (select count(*) from seal_head)";
    std::fs::write(there.join("cut"), &compressed[..compressed.len() - 9]).unwrap();
    let changed = text.replacen("Say hello to Bob", "Say hello to Eve", 1);
    let position = changed.lines().position(|line| !text.contains(line)).unwrap();
    let position = serde_json::from_str::<Value>(changed.lines().nth(position).unwrap()).unwrap()["position"].clone();
    std::fs::write(there.join("changed"), &changed).unwrap();
    for (arguments, environment, why) in [
        (&["import", "nothing"][..], &[][..], "nothing: No such file"),
        (&["import", "cut"], &[], "ends within its compressed data: it was cut short"),
        (&["import", "key.pem"], &[], "line 1: this is no export of a log"),
        (&["import", "2"], &[], "it begins with position 8, and 1 is next"),
        (&["import", "changed"], &[], &format!("position {position} was changed")),
        (&["import", "log.zst", "--key", "log.zst"], &[], "log.zst"),
        (&WITH, &[], "no passphrase"),
        (&WITH, &[("DAYBOOK_PASSPHRASE", "correct house")], "the passphrase is not the one"),
        (&["import", "log.zst", "--credentials", "key.pem"], &[SECRET], "these are no credentials"),
    ] {
        let said = refused(there, arguments, environment).await;
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *target).await.unwrap(), 0, "{why}");
    }
}

/// Who was a user is one, and what was taken is. Returns a token of eve.
async fn who_was_a_user_is_one(system: &System, execution: &str) -> String {
    let login =
        |name: &str| json!({ "email": format!("{name}@example.com"), "password": format!("password of {name}") });
    let body = system.command(Method::POST, "/api/v1/auth/login", None, login("eve")).await;
    let eve = body["access_token"].as_str().unwrap();
    let execution = system.query(&format!("/api/v1/executions/{execution}"), eve).await;
    assert_eq!(execution["status"], "succeeded");
    let register = |email: &str, name: &str| json!({ "email": email, "username": name, "password": "correct horse" });
    for (body, code) in [
        (register("ADA@example.com", "another"), "email_taken"),
        (register("another@example.com", "Ada"), "username_taken"),
    ] {
        let taken = system.send(Method::POST, "/api/v1/auth/register", None, Some(body)).await;
        assert_eq!((taken.status, &taken.body["code"]), (StatusCode::CONFLICT, &json!(code)));
    }
    eve.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_moves_to_another_system_and_every_row_with_it() {
    let (here, there) = (testkit::folder("transfer from"), testkit::folder("transfer to"));
    let often = [("DAYBOOK_SEAL_INTERVAL", "100ms".to_owned())];
    let system = System::start(&here, &often).await;
    let ada = system.user("ada").await;
    let eve = system.user("eve").await;
    let sub = system.catalogue(&ada).await;
    let prompt = system.prompt(&eve, &sub, "echo", "echo").await;
    let mut executions = Vec::new();
    for name in ["Ada", "Bob", "Eve \"quoted\" \\ äöü 🎈"] {
        let execution = system.execute(&eve, &prompt, name).await;
        system.outcome(&eve, &execution).await;
        executions.push(execution);
    }
    // By then a head covers it.
    system.query(&format!("/api/v1/executions/{}/receipt", executions[2]), &eve).await;
    let before = rows(&mut database(&here).await).await;

    let export = ["export", "--zstd", "--out", "log.zst", "--credentials", "credentials", "--json"];
    let written = told(&here, &export, &[SECRET]).await;
    let end = written["to"].as_i64().unwrap();
    // A password of each of the two, and two of the session of each.
    assert_eq!((&written["secrets"], &written["events"]), (&json!(6), &written["to"]), "{written}");
    assert!(written["sealed"].as_i64().unwrap() > 10, "{written}");
    // The same, plain, on standard output; and in two parts.
    let plain = log(&here, &["export"], &[]).await;
    assert!(plain.status.success(), "{plain:?}");
    let compressed = std::fs::read(here.join("log.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&compressed[..]).unwrap()).unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap(), text);
    for (arguments, part) in [(["--to", "7"], "1"), (["--from", "8"], "2")] {
        let output = log(&here, &[&["export", "--out", part][..], &arguments].concat(), &[]).await;
        assert!(output.status.success(), "{output:?}");
    }

    what_cannot_be_exported(&here, end).await;

    // It moves, with its key.
    let pem = reqwest::get(format!("{}/api/v1/log/key", system.http)).await.unwrap().text().await.unwrap();
    assert_eq!(system.stop().await, Some(0));
    std::fs::create_dir(there.join("data")).unwrap();
    std::fs::copy(here.join("data/seal-key.pem"), there.join("data/seal-key.pem")).unwrap();
    std::fs::write(there.join("key.pem"), pem).unwrap();
    for name in ["log.zst", "credentials", "1", "2"] {
        std::fs::copy(here.join(name), there.join(name)).unwrap();
    }
    let system = System::start(&there, &often).await;
    let mut target = database(&there).await;
    what_cannot_be_imported(&there, &mut target, &compressed, &text).await;
    let killed = log(&there, &WITH, &[SECRET, ("DAYBOOK_FAILPOINT", "import.commit")]).await;
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");

    let import = [&WITH[..], &["--key", "key.pem", "--json"]].concat();
    let done = told(&there, &import, &[SECRET]).await;
    assert_eq!(
        (&done["events"], &done["secrets"], &done["without_password"]),
        (&json!(end), &json!(6), &json!(0)),
        "{done}"
    );
    assert_eq!(done["epoch"], 2, "{done}");
    assert_eq!(rows(&mut target).await, before);
    let said = refused(&there, &import, &[SECRET]).await;
    assert!(said.contains("the database is not empty, it has events"), "{said}");

    let eve = who_was_a_user_is_one(&system, &executions[2]).await;
    let eve = eve.as_str();
    let new = system.user("new").await;
    assert_eq!(system.query("/api/v1/auth/me", &new).await["roles"], json!([]), "the first user is there already");
    let again = system.execute(eve, &prompt, "Ada").await;
    assert_eq!(system.outcome(eve, &again).await["status"], "succeeded");
    // By then a head covers it, and the stream has it.
    system.query(&format!("/api/v1/executions/{again}/receipt"), eve).await;
    // The relay, which was at work all the time, sees within half a minute that the log is another.
    let jetstream = async_nats::jetstream::new(reader(&system.nats_url).await);
    let anew = async { while jetstream.stream_by_subject("events.>").await.ok().as_deref() != Some("EVENTS_2") {} };
    timeout(PATIENCE, anew).await.unwrap();
    let verified = told(&there, &["verify", "--json"], &[]).await;
    let summary = &verified["summary"];
    assert_eq!(summary["well"], json!(true), "{verified}");
    assert_eq!(summary["messages"], summary["events"], "{summary}");
    assert_eq!(system.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_follow_each_other_come_in_together_and_the_systems_own_key_signs_on() {
    let (here, there) = (testkit::folder("parts from"), testkit::folder("parts to"));
    let often = [("DAYBOOK_SEAL_INTERVAL", "100ms".to_owned())];
    let system = System::start(&here, &often).await;
    let ada = system.user("ada").await;
    let sub = system.catalogue(&ada).await;
    let prompt = system.prompt(&ada, &sub, "echo", "echo").await;
    let execution = system.execute(&ada, &prompt, "Ada").await;
    system.outcome(&ada, &execution).await;
    system.query(&format!("/api/v1/executions/{execution}/receipt"), &ada).await;
    let before = rows(&mut database(&here).await).await;
    for (arguments, part) in [(["--to", "3"], "1"), (["--from", "4"], "2")] {
        let output = log(&here, &[&["export", "--zstd", "--out", part][..], &arguments].concat(), &[]).await;
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(system.stop().await, Some(0));

    let system = System::start(&there, &often).await;
    let both = [std::fs::read(here.join("1")).unwrap(), std::fs::read(here.join("2")).unwrap()].concat();
    std::fs::write(there.join("both"), both).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" log import - <both", env!("CARGO_BIN_EXE_daybook")])
        .current_dir(&there)
        .env_clear();
    let output = command.env("DAYBOOK_DATA", there.join("data")).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("1 users have no password here"), "{said}");
    assert_eq!(rows(&mut database(&there).await).await, before);
    // Two keys, each for its part.
    let eve = system.user("eve").await;
    let receipt = async || system.query("/api/v1/log/head", &eve).await["head"].clone();
    let pem = reqwest::get(format!("{}/api/v1/log/key", system.http)).await.unwrap().text().await.unwrap();
    assert_eq!(pem.matches("BEGIN PUBLIC KEY").count(), 2, "{pem}");
    std::fs::write(there.join("keys.pem"), pem).unwrap();
    let end: i64 =
        sqlx::query_scalar("select max(position) from event").fetch_one(&mut database(&there).await).await.unwrap();
    let sealed = async { while receipt().await["size"].as_i64().unwrap() < end {} };
    timeout(PATIENCE, sealed).await.unwrap();
    let verified = told(&there, &["verify", "--key", "keys.pem", "--json"], &[]).await;
    assert_eq!(verified["summary"]["well"], json!(true), "{verified}");
    assert_eq!(system.stop().await, Some(0));
}
