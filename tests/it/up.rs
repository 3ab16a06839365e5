//! How `daybook up` stops, and what it leaves behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::testkit;

use crate::system::System;

/// The command lines of processes that name the folder.
fn servers(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder.to_str().unwrap()))
        .collect()
}

fn endpoints(folder: &Path) -> PathBuf {
    folder.join("data/endpoints.json")
}

#[tokio::test]
async fn it_stops_in_order_and_starts_again_soon_with_all_data() {
    let folder = testkit::folder("up with spaces");
    let system = System::start(&folder, &[]).await;
    assert_eq!(std::fs::metadata(endpoints(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
    let ready = system.send(Method::GET, "/health/ready", None, None).await;
    assert_eq!(ready.body, json!({ "status": "ready" }));
    system.user("ada").await;
    assert!(!servers(&folder).is_empty());

    assert_eq!(system.stop().await, Some(0));
    assert!(!endpoints(&folder).exists());
    assert_eq!(servers(&folder), Vec::<String>::new());

    let again = System::start(&folder, &[]).await;
    let login = json!({ "email": "ada@example.com", "password": "password of ada" });
    let login = again.send(Method::POST, "/api/v1/auth/login", None, Some(login)).await;
    assert_eq!(login.status, StatusCode::OK);
    assert_eq!(again.stop().await, Some(0));
}

#[tokio::test]
async fn killed_it_leaves_no_server_and_the_next_start_recovers() {
    let folder = testkit::folder("up killed");
    let system = System::start(&folder, &[]).await;
    system.user("ada").await;
    system.kill().await;
    let killed = Instant::now();
    while !servers(&folder).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(5), "still running: {:?}", servers(&folder));
        tokio::task::yield_now().await;
    }
    let again = System::start(&folder, &[]).await;
    let register = json!({ "email": "ada@example.com", "username": "eve", "password": "correct horse" });
    let register = again.send(Method::POST, "/api/v1/auth/register", None, Some(register)).await;
    assert_eq!(register.status, StatusCode::CONFLICT, "what was acknowledged is there");
    assert_eq!(again.stop().await, Some(0));
}

#[tokio::test]
async fn a_second_one_in_the_same_folder_is_refused() {
    let folder = testkit::folder("up twice");
    let system = System::start(&folder, &[]).await;
    let second = Command::new(env!("CARGO_BIN_EXE_daybook"))
        .env("DAYBOOK_DATA", folder.join("data"))
        .env("HTTP_ADDR", "127.0.0.1:0")
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr);
    assert!(told.contains("is in use by another daybook"), "{told}");
    let still: Value = serde_json::from_slice(&std::fs::read(endpoints(&folder)).unwrap()).unwrap();
    assert_eq!(still["http"], system.http.as_str());
    assert_eq!(system.stop().await, Some(0));
}
