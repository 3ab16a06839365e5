//! Thousands who listen, over HTTP.

use std::{net::SocketAddr, time::Duration};

use service::http;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::PATH;
use crate::{
    listening::happen,
    world::{Person, World, within},
};

/// As many as fit into the file descriptors of one process that has both ends, and no more than one process serves.
const CROWD: u128 = 5000;

/// One who listens.
struct One {
    stream: TcpStream,
    heard: String,
}

impl One {
    async fn connect(addr: SocketAddr, person: &Person) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let token = person.token();
        let request = format!(
            "GET {PATH}?after=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut one = Self { stream, heard: String::new() };
        one.until("\r\n\r\n").await;
        assert!(one.heard.starts_with("HTTP/1.1 200 "), "{}", one.heard);
        one.heard.clear();
        one
    }

    /// Reads until it has heard this.
    async fn until(&mut self, what: &str) {
        let mut bytes = [0; 1024];
        while !self.heard.contains(what) {
            let count = self.stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "closed after {}", self.heard);
            self.heard.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
    }

    fn is_silent(&self) -> bool {
        let mut bytes = [0; 64];
        self.stream.try_read(&mut bytes).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// What the process has in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_listen_and_one_event_reaches_whom_it_concerns() {
    let World { app, store, pool, lifecycle, .. } = World::new().await;
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = http::serve(listener, app, lifecycle.soft(), lifecycle.hard(), Duration::from_secs(10));
    let serving = tokio::spawn(serving);
    let before = resident();
    let mut crowd = Vec::new();
    for number in 1..=CROWD {
        crowd.push(within("a connection", One::connect(addr, &Person::new(number, false))).await);
    }
    let each = (resident() - before) * 1024 / u64::try_from(CROWD).unwrap();
    eprintln!("{each} bytes a connection, of both its ends");
    assert!(each < 64 << 10, "{each} bytes a connection");
    // Nobody asks the database anything of its own.
    let asked: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = current_database()")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(asked < 20, "{asked} connections");

    let chosen = 4711;
    let mine = happen(&store, "prompt", Some(Person::new(chosen, false).id), "prompt_created", 1).await;
    within("the event", crowd[usize::try_from(chosen).unwrap() - 1].until(&format!("id: {mine}\n"))).await;
    let silent = crowd.iter().filter(|one| one.is_silent()).count();
    // The clock may have brought a comment to some of them.
    assert!(crowd.iter().enumerate().all(|(n, one)| n + 1 == 4711 || !one.heard.contains("event: ")));
    eprintln!("{silent} heard nothing");
    let all = happen(&store, "specialty", None, "specialty_created", 1).await;
    within("the event of all", async {
        for one in &mut crowd {
            one.until(&format!("id: {all}\nevent: specialty_created\n")).await;
        }
    })
    .await;
    lifecycle.stop();
    within("the end of all", async {
        for one in &mut crowd {
            one.until("retry: 1000\n").await;
        }
    })
    .await;
    within("the server's end", serving).await.unwrap().unwrap();
}
