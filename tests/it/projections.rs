//! Read models made anew while the system runs: over HTTP, and by the command line, also when that is killed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::testkit;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

use crate::system::System;

/// Runs `daybook projections` beside the system in `folder`, found by what that says of itself.
async fn projections(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_daybook"))
        .arg("projections")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("DAYBOOK_DATA", folder.join("data"))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

/// What it printed, a JSON value a line; it must have succeeded.
async fn told(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = projections(folder, arguments, &[]).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What it said when it refused.
async fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = projections(folder, arguments, &[]).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A system with an execution that has ended, and the admin's token.
async fn busy(folder: &Path) -> (System, String, String) {
    let system = System::start(folder, &[]).await;
    let admin = system.user("ada").await;
    let sub = system.catalogue(&admin).await;
    let prompt = system.prompt(&admin, &sub, "echo", "echo").await;
    let execution = system.execute(&admin, &prompt, "Ada").await;
    system.outcome(&admin, &execution).await;
    (system, admin, execution)
}

#[tokio::test]
async fn an_admin_asks_for_a_rebuild_and_sees_what_was_decided() {
    let folder = testkit::folder("projections asked");
    let (system, admin, execution) = busy(&folder).await;
    let before = system.query(&format!("/api/v1/executions/{execution}"), &admin).await;
    let user = system.user("eve").await;
    let rebuild = |name: &str| format!("/api/v1/projections/{name}/rebuild");
    let post = async |name: &str, token: &str| {
        system.send(Method::POST, &rebuild(name), Some(token), Some(json!({}))).await.status
    };
    assert_eq!(post("execution", &user).await, StatusCode::FORBIDDEN);
    assert_eq!(post("weather", &admin).await, StatusCode::NOT_FOUND);
    for path in ["/api/v1/projections", "/api/v1/projections/execution/reports"] {
        assert_eq!(system.send(Method::GET, path, Some(&user), None).await.status, StatusCode::FORBIDDEN);
    }
    let accepted = system.send(Method::POST, &rebuild("execution"), Some(&admin), Some(json!({}))).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    assert_eq!(accepted.headers["location"], "/api/v1/projections");
    let report = loop {
        let reports = system.query("/api/v1/projections/execution/reports", &admin).await;
        if let Some(report) = reports["items"].get(0).filter(|report| !report["said_at"].is_null()) {
            break report.clone();
        }
    };
    assert_eq!((report["decision"].as_str(), report["reason"].as_str()), (Some("switched"), Some("no row differs")));
    let me = system.query("/api/v1/auth/me", &admin).await;
    assert_eq!(report["actor"], me["id"]);
    let all = system.query("/api/v1/projections", &admin).await;
    let row = all["items"].as_array().unwrap().iter().find(|row| row["name"] == "execution").unwrap();
    assert_eq!((row["generation"].as_i64(), row["previous"]["generation"].as_i64()), (Some(1), Some(0)));
    assert_eq!(system.query(&format!("/api/v1/executions/{execution}"), &admin).await, before);
    assert_eq!(system.stop().await, Some(0));
}

#[tokio::test]
async fn the_command_line_rebuilds_beside_a_running_system_and_is_killed_without_harm() {
    let folder = testkit::folder("projections killed");
    let (system, admin, execution) = busy(&folder).await;
    let path = format!("/api/v1/executions/{execution}");
    let before = system.query(&path, &admin).await;
    let listed = told(&folder, &["list", "--json"]).await;
    assert_eq!(listed.len(), projectors::ALL.len(), "{listed:?}");
    for place in ["rebuild.load", "rebuild.switch", "rebuild.switched"] {
        let arguments = ["rebuild", "execution", "--share", "64"];
        let killed = projections(&folder, &arguments, &[("DAYBOOK_FAILPOINT", place)]).await;
        assert_eq!(killed.status.signal(), Some(9), "{place}: {killed:?}");
        assert_eq!(system.query(&path, &admin).await, before, "{place}");
        if place == "rebuild.load" {
            let refused = refused(&folder, &["rebuild", "execution"]).await;
            assert!(refused.contains("a rebuild of execution is running"), "{refused}");
        }
        // Until the killed one counts as gone.
        while !projections(&folder, &["rebuild", "execution", "--share", "64"], &[]).await.status.success() {}
    }
    // The third had done it, and could not say so: whoever came next has.
    let reports = system.query("/api/v1/projections/execution/reports", &admin).await;
    let reports = reports["items"].as_array().unwrap();
    assert_eq!(reports.len(), 4, "{reports:?}");
    assert!(reports.iter().all(|report| report["decision"] == "switched" && !report["said_at"].is_null()));

    let rebuilt = told(&folder, &["rebuild", "--all", "--json", "--share", "64"]).await;
    assert!(rebuilt.iter().all(|report| report["decision"] == "switched"), "{rebuilt:?}");
    let back = told(&folder, &["rollback", "execution", "--json", "--share", "64"]).await;
    assert_eq!(back[0]["decision"], "rolled_back");
    assert_eq!(system.query(&path, &admin).await, before);
    assert_eq!(system.stop().await, Some(0));
}

#[tokio::test]
async fn a_column_flipped_behind_the_systems_back_is_named_and_repaired_when_that_is_asked_for() {
    let folder = testkit::folder("projections flipped");
    let (system, admin, execution) = busy(&folder).await;
    let path = format!("/api/v1/executions/{execution}");
    let before = system.query(&path, &admin).await;
    let endpoints: Value = serde_json::from_slice(&std::fs::read(folder.join("data/endpoints.json")).unwrap()).unwrap();
    let mut database = PgConnection::connect(endpoints["database_url"].as_str().unwrap()).await.unwrap();
    let flip = "update read.execution set result = 'Say hello to Eve.' where id = $1::text::uuid";
    sqlx::query(flip).bind(&execution).execute(&mut database).await.unwrap();

    let output = projections(&folder, &["verify", "execution", "--all", "--json"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let found: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((found["relation"].as_str(), found["thing"].as_str()), (Some("execution"), Some(execution.as_str())));
    assert_eq!(found["columns"]["result"]["live"], "Say hello to Eve.");
    assert_eq!(found["event_kind"], "execution_succeeded");
    let kept = system.query("/api/v1/projections/findings", &admin).await;
    assert_eq!(kept["items"][0]["id"], found["id"]);
    let stopped = refused_with_report(&folder).await;
    assert!(stopped.contains("result: ") && stopped.contains("execution_succeeded"), "{stopped}");

    told(&folder, &["verify", "execution", "--all", "--json", "--repair"]).await;
    told(&folder, &["verify", "execution", "--all", "--json"]).await;
    assert_eq!(system.query(&path, &admin).await, before);
    assert_eq!(system.stop().await, Some(0));
}

/// What a rebuild that is stopped prints.
async fn refused_with_report(folder: &Path) -> String {
    let output = projections(folder, &["rebuild", "execution", "--share", "64"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let folder = testkit::folder("projections refused");
    let told = refused(&folder, &["rebuild", "execution"]).await;
    assert!(told.contains("no `daybook up` is running here") && told.contains("DATABASE_URL"), "{told}");
    let system = System::start(&folder, &[]).await;
    for (arguments, why) in [
        (vec!["rebuild", "weather"], "there is no projection weather: there are identity, catalog,"),
        (vec!["rebuild", "execution", "--until", "1000000"], "position 1000000 is past the end of the log"),
        (vec!["rebuild", "execution", "--until", "yesterday"], "it is neither a position nor a time such as"),
        (vec!["rebuild"], "required arguments were not provided"),
        (vec!["discard", "execution"], "there is no candidate of execution"),
        (vec!["rollback", "execution"], "there is no generation that was live before of execution"),
    ] {
        let told = refused(&folder, &arguments).await;
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
    assert_eq!(system.stop().await, Some(0));
}
