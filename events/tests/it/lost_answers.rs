//! The connection breaks after the commit and before its answer: the writer finds out what became of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use events::{
    Secret, Store, clock,
    store::{Append, Options, Refused},
};
use service::testkit::{self, Database};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::rig::{append, check, claim, key, rows, stored, until};

/// A way to the database on which answers can be lost.
struct Wire {
    connect: PgConnectOptions,
    /// How many answers are to be lost, each with its connection.
    lose: Arc<AtomicUsize>,
    /// On how many connections nothing is to come back any more, while they stay open.
    hang: Arc<AtomicUsize>,
}

impl Wire {
    async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect: PgConnectOptions = database.url.parse().unwrap();
        let (server, port) = (database.server.addr(), listener.local_addr().unwrap().port());
        let lose = Arc::new(AtomicUsize::new(0));
        let hang = Arc::new(AtomicUsize::new(0));
        let (losing, hanging) = (lose.clone(), hang.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(client, server, losing.clone(), hanging.clone()));
            }
        });
        Self { connect: connect.port(port), lose, hang }
    }
}

async fn carry(client: TcpStream, server: TcpStream, lose: Arc<AtomicUsize>, hang: Arc<AtomicUsize>) {
    let (mut asked, mut to_client) = client.into_split();
    let (mut answered, mut to_server) = server.into_split();
    let there = tokio::spawn(async move { tokio::io::copy(&mut asked, &mut to_server).await });
    let mut answer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = answered.read(&mut answer).await {
        let one_less =
            |left: &AtomicUsize| left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        if one_less(&hang) {
            std::future::pending::<()>().await;
        }
        // PostgreSQL answers once it has committed.
        let swallow = one_less(&lose);
        if swallow || to_client.write_all(&answer[..bytes]).await.is_err() {
            break;
        }
    }
    there.abort();
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_known_again() {
    let database = testkit::database().await;
    let wire = Wire::to(&database).await;
    let options = Options { lanes: 1, ..Options::default() };
    let (store, _writer) = Store::open(database.pool.clone(), wire.connect.clone(), &options);
    let mut expected = Vec::new();
    for n in 0..20 {
        // On a connection that has the statement prepared already, so that its next answer is the append's.
        let before = append(clock::id(), 0, 1);
        expected.extend(rows(&before, store.append(before.clone()).await.unwrap().unwrap()));

        let lost = match n % 4 {
            0 => append(clock::id(), 0, 2),
            1 => Append { claims: vec![claim(n)], ..append(clock::id(), 0, 2) },
            2 => Append { key: Some(key(n, 1)), ..append(before.id, 1, 3) },
            _ => Append { secrets: vec![Secret { kind: "password", value: vec![n] }], ..append(before.id, 1, 1) },
        };
        wire.lose.store(1, Ordering::Relaxed);
        let at = store.append(lost.clone()).await.unwrap();
        assert_eq!(wire.lose.load(Ordering::Relaxed), 0, "an answer was lost");
        expected.extend(rows(&lost, at.unwrap_or_else(|refused| panic!("{n}: refused for its own {refused:?}"))));
    }
    assert_eq!(stored(&database.pool).await, expected);
    check(&database.pool).await;
}

#[tokio::test]
async fn a_refusal_whose_answer_was_lost_is_still_a_refusal() {
    let database = testkit::database().await;
    let wire = Wire::to(&database).await;
    let options = Options { lanes: 1, ..Options::default() };
    let (store, _writer) = Store::open(database.pool.clone(), wire.connect.clone(), &options);
    let first = Append { claims: vec![claim("x")], key: Some(key("x", 1)), ..append(clock::id(), 0, 1) };
    store.append(first.clone()).await.unwrap().unwrap();
    for (again, refused) in [
        (append(first.id, 0, 1), Refused::Version),
        (Append { claims: vec![claim("x")], ..append(clock::id(), 0, 1) }, Refused::Claim),
        (Append { key: Some(key("x", 1)), ..append(clock::id(), 0, 1) }, Refused::Key),
    ] {
        store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();
        wire.lose.store(1, Ordering::Relaxed);
        assert_eq!(store.append(again).await.unwrap(), Err(refused));
        assert_eq!(wire.lose.load(Ordering::Relaxed), 0);
    }
    // Lost again and again: many at once, and each is there once.
    let mut calls = tokio::task::JoinSet::new();
    wire.lose.store(5, Ordering::Relaxed);
    for _ in 0..30 {
        let store = store.clone();
        calls.spawn(async move { store.append(append(clock::id(), 0, 2)).await.unwrap().unwrap() });
    }
    calls.join_all().await;
    assert_eq!(check(&database.pool).await, 4 + 60);
}

#[tokio::test]
async fn a_connection_that_hangs_holds_up_nobody_but_those_who_are_on_it() {
    let database = testkit::database().await;
    let wire = Wire::to(&database).await;
    let (store, _writer) = Store::open(database.pool.clone(), wire.connect.clone(), &Options::default());
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();
    wire.hang.store(1, Ordering::Relaxed);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap() }
    });
    until("an answer that hangs", async || wire.hang.load(Ordering::Relaxed) == 0).await;
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();
    assert!(!hanging.is_finished(), "the second waited for the first");
    hanging.abort();
}
