//! The drill of a restore: a system that was brought back to an earlier point, by a backup and by other means; what is ahead of
//! its log is detected, and healed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Output, Stdio};

use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::embedded::{Durability, Postgres, PostgresOptions};
use service::testkit;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{
    story::reader,
    system::{PATIENCE, System, path_with_servers},
    transfer::{database, rows},
};

/// Runs `daybook` in `folder`, where a system keeps its data.
async fn daybook(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.args(arguments).current_dir(folder).env_clear().env("PATH", path_with_servers(folder).await);
    command.env("DAYBOOK_DATA", folder.join("data")).envs(environment.iter().copied()).stdin(Stdio::null());
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// The JSON object that it printed last; it must have succeeded.
async fn told(folder: &Path, arguments: &[&str]) -> Value {
    let output = daybook(folder, arguments, &[]).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

async fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = daybook(folder, arguments, &[]).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The name of the stream of events, and its last sequence.
async fn stream(system: &System) -> (String, u64) {
    let jetstream = async_nats::jetstream::new(reader(&system.nats_url).await);
    let name = jetstream.stream_by_subject("events.>").await.unwrap();
    let mut stream = jetstream.get_stream(&name).await.unwrap();
    let info = stream.info().await.unwrap();
    (name, info.state.last_sequence)
}

/// An execution by `token` that has ended and is under a signed head.
async fn executed(system: &System, token: &str, prompt: &str) -> String {
    let execution = system.execute(token, prompt, "Ada").await;
    assert_eq!(system.outcome(token, &execution).await["status"], "succeeded");
    system.query(&format!("/api/v1/executions/{execution}/receipt"), token).await;
    execution
}

/// The log, its heads, the file outside, and the stream agree, and the read models are folds of the log.
async fn all_is_well(folder: &Path, epoch: i32) {
    rows(&mut database(folder).await).await;
    let verified = told(folder, &["log", "verify", "--json"]).await;
    let summary = &verified["summary"];
    assert_eq!((&summary["well"], &summary["stream"]), (&json!(true), &json!(format!("EVENTS_{epoch}"))), "{verified}");
    assert_eq!(summary["messages"], summary["events"], "{verified}");
    for name in ["identity", "catalog", "prompt", "execution"] {
        let output = daybook(folder, &["projections", "verify", name, "--all", "--json"], &[]).await;
        assert!(output.status.success(), "{output:?}");
    }
}

const OFTEN: (&str, &str) = ("DAYBOOK_SEAL_INTERVAL", "100ms");

async fn start(folder: &Path) -> System {
    System::start(folder, &[(OFTEN.0, OFTEN.1.to_owned())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_goes_back_to_a_backup_and_on_from_there() {
    let folder = testkit::folder("restored");
    let system = start(&folder).await;
    let ada = system.user("ada").await;
    let sub = system.catalogue(&ada).await;
    let prompt = system.prompt(&ada, &sub, "echo", "echo").await;
    let kept = executed(&system, &ada, &prompt).await;
    let before = rows(&mut database(&folder).await).await;
    let backup = told(&folder, &["backup", "monday", "--json"]).await;
    let position = backup["position"].as_i64().unwrap();
    let again = refused(&folder, &["backup", "monday"]).await;
    assert!(again.contains("monday is there already"), "{again}");

    // What will be lost: on the stream, in the read models, under signed heads.
    system.user("eve").await;
    let lost = executed(&system, &ada, &prompt).await;
    let (name, end) = stream(&system).await;
    assert!(name == "EVENTS_1" && end > position.unsigned_abs(), "{name} {end}");
    let running = refused(&folder, &["restore", "monday"]).await;
    assert!(running.contains("is in use by another daybook"), "{running}");
    let endpoints: Value = serde_json::from_slice(&std::fs::read(folder.join("data/endpoints.json")).unwrap()).unwrap();
    let given = [("DATABASE_URL", endpoints["database_url"].as_str().unwrap())];
    let output = daybook(&folder, &["restore", "monday"], &given).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("is in use (daybook"), "{said}");
    assert_eq!(system.stop().await, Some(0));

    // What is no backup changes nothing; nor does a restore that is killed before the end.
    let bytes = std::fs::read(folder.join("monday")).unwrap();
    std::fs::write(folder.join("cut"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(folder.join("torn"), &bytes[..bytes.len() - 200]).unwrap();
    std::fs::write(folder.join("text"), "no backup").unwrap();
    for (file, why) in [
        ("cut", "cut is no backup"),
        ("torn", "torn could not be restored"),
        ("text", "text is no backup"),
        ("nothing", "nothing: No such"),
    ] {
        let said = refused(&folder, &["restore", file]).await;
        assert!(said.contains(why), "{said}");
    }
    let heads = std::fs::read(folder.join("data/seal-heads.jsonl")).unwrap();
    // Nor does one that is killed after it take the file of heads from anybody: it is done again.
    for place in ["restore.swap", "restore.swapped"] {
        let killed = daybook(&folder, &["restore", "monday"], &[("DAYBOOK_FAILPOINT", place)]).await;
        assert!(!killed.status.success(), "{killed:?}");
        assert_eq!(std::fs::read(folder.join("data/seal-heads.jsonl")).unwrap(), heads, "{place}");
    }

    let done = told(&folder, &["restore", "monday", "--json"]).await;
    assert_eq!((&done["position"], &done["epoch"]), (&json!(position), &json!(3)), "{done}");
    assert_eq!(done["made_anew"], json!([]), "{done}");
    assert!(done["replaced"].as_str().unwrap().starts_with("daybook_replaced_"), "{done}");

    let system = start(&folder).await;
    assert_eq!(rows(&mut database(&folder).await).await, before);
    let path = |execution: &str| format!("/api/v1/executions/{execution}");
    assert_eq!(system.query(&path(&kept), &ada).await["status"], "succeeded");
    assert_eq!(system.send(Method::GET, &path(&lost), Some(&ada), None).await.status, StatusCode::NOT_FOUND);
    // At the places of the events that are lost, others; whoever follows the stream hears them, and not those.
    let bus = reader(&system.nats_url).await;
    let mut heard = bus.subscribe("events.*.user.>").await.unwrap();
    bus.flush().await.unwrap();
    system.user("eve").await;
    // (The others may come once more, while the stream is made anew.)
    let new = async {
        loop {
            let headers = heard.next().await.unwrap().headers.unwrap();
            let header = |name: &str| headers.get(name).unwrap().to_string().parse::<i64>().unwrap();
            if header("ce-position") > position {
                return (header("ce-position"), header("ce-epoch"));
            }
        }
    };
    assert_eq!(timeout(PATIENCE, new).await.unwrap(), (position + 1, 3));
    executed(&system, &ada, &prompt).await;
    all_is_well(&folder, 3).await;
    // What was lost is kept.
    let mut database = database(&folder).await;
    let kept: i64 = sqlx::query_scalar("select count(*) from pg_database where starts_with(datname, 'daybook_re')")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(kept, 2);
    let aside = std::fs::read_dir(folder.join("data")).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("seal-heads.jsonl.before-"));
    assert_eq!(aside.count(), 1);
    assert_eq!(system.stop().await, Some(0));
}

/// The database of a system that does not run.
async fn server(folder: &Path) -> (Postgres, PgConnection) {
    // Where the data folder cannot be entered by PostgreSQL's user, a file in it says where it is.
    let elsewhere = std::fs::read_to_string(folder.join("data/postgres-home")).ok();
    let server = Postgres::start(PostgresOptions {
        home: elsewhere.map_or_else(|| folder.join("data"), |home| home.trim().into()),
        wheels: Some(testkit::wheels()),
        password_file: folder.join("data/postgres-password"),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        durability: Durability::Full,
    })
    .await
    .unwrap();
    let database = PgConnection::connect(&server.url()).await.unwrap();
    (server, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_end_is_noticed_and_healed() {
    let folder = testkit::folder("recovered");
    let system = start(&folder).await;
    let ada = system.user("ada").await;
    let sub = system.catalogue(&ada).await;
    let prompt = system.prompt(&ada, &sub, "echo", "echo").await;
    executed(&system, &ada, &prompt).await;
    let end: i64 =
        sqlx::query_scalar("select max(position) from event").fetch_one(&mut database(&folder).await).await.unwrap();
    system.user("eve").await;
    executed(&system, &ada, &prompt).await;
    rows(&mut database(&folder).await).await;
    assert_eq!(system.stop().await, Some(0));

    // As a standby would be that had not got the end, while the projections, which read the stream, had.
    let (postgres, mut database) = server(&folder).await;
    for table in ["event", "seal_head", "seal_node"] {
        database.execute(sqlx::AssertSqlSafe(format!("alter table {table} disable trigger user"))).await.unwrap();
    }
    let tables = [("event", "position"), ("claim", "position"), ("seal_head", "size")];
    for (table, place) in tables {
        let cut = format!("delete from {table} where {place} > {end}");
        database.execute(sqlx::AssertSqlSafe(cut)).await.unwrap();
    }
    database.execute("delete from secret s where not exists (select from event e where e.id = s.id)").await.unwrap();
    for table in ["event", "seal_head", "seal_node"] {
        database.execute(sqlx::AssertSqlSafe(format!("alter table {table} enable trigger user"))).await.unwrap();
    }
    database.close().await.unwrap();
    postgres.stop().await;

    // Noticed: the stream, which is made anew in another epoch; the read models, which stand; the seal, which is not gone on with.
    let system = start(&folder).await;
    let ready = system.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(ready.body["degraded"], json!(["seal"]), "{ready:?}");
    let log = system.log();
    assert!(log.contains("it goes further than the log"), "{log}");
    let (name, last) = stream(&system).await;
    assert!(name == "EVENTS_2" && last >= end.unsigned_abs(), "{name} {last}");
    assert!(log.contains("the projection has stopped"), "{log}");
    assert!(log.contains("it was restored to an earlier point, or has lost its end"), "{log}");
    assert_eq!(system.stop().await, Some(0));

    // Healed.
    let done = told(&folder, &["restore", "--recovered", "--json"]).await;
    let mut anew: Vec<&str> = done["made_anew"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    anew.sort_unstable();
    let mut all: Vec<&str> = projectors::ALL.iter().map(|projection| projection.name).collect();
    all.sort_unstable();
    assert_eq!(anew, all, "{done}");
    assert_eq!((&done["epoch"], &done["replaced"]), (&json!(3), &json!(null)), "{done}");
    let system = start(&folder).await;
    let ready = system.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(ready.body, json!({ "status": "ready" }));
    let login = json!({ "email": "eve@example.com", "password": "password of eve" });
    let gone = system.send(Method::POST, "/api/v1/auth/login", None, Some(login)).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    let ada = json!({ "email": "ada@example.com", "password": "password of ada" });
    let ada = system.command(Method::POST, "/api/v1/auth/login", None, ada).await["access_token"].clone();
    executed(&system, ada.as_str().unwrap(), &prompt).await;
    all_is_well(&folder, 3).await;
    assert_eq!(system.stop().await, Some(0));
}
