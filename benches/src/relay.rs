//! From the log into `JetStream`.
//!
//! Ours is the product's relay over a log of 200,000 events: it reads them from PostgreSQL, turns them into messages, and
//! checks each acknowledgement. The reference has the very same messages in memory before the clock starts, with all their
//! headers (also those that make the server refuse what does not follow its predecessor), publishes them with as many in
//! flight to an equal stream, and counts acknowledgements. Each round of either has a stream of its own, and is right only
//! if every event is in it.

mod raw;

use std::{process::ExitCode, sync::atomic::AtomicU32, sync::atomic::Ordering, time::Instant};

use anyhow::{Context as _, ensure};
use daybook::system::{self, Servers, Urls};
use events::{Recorded, Store, store};
use nats::{Bus, Relay, relay::Options, stream};
use service::{
    db::{self, Kind},
    embedded::{Durability, Folder},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Figure, Floor, Report, case, interleaved, run, sized},
    history::{History, fill},
};

/// The events of the log.
const EVENTS: usize = sized(200_000, 20_000);
/// The least number of rounds.
const ROUNDS: usize = 3;

/// Runs it.
pub fn main() -> ExitCode {
    run("relay", body())
}

async fn body() -> anyhow::Result<()> {
    let mut report = Report::new("relay")?;
    let folder = Folder::open(&system::scratch("relay"))?;
    let servers = Servers::start(&folder, Durability::Full).await?;
    let urls = servers.urls(servers.at());
    let pool = db::pool(&servers.postgres.url(), Kind::Relay)?;
    let begin = Instant::now();
    fill(&pool, &mut History::new(), EVENTS).await?;
    eprintln!("a log of {EVENTS} events, made in {:.1} s", begin.elapsed().as_secs_f64());
    let events = History::new().take(EVENTS)?;

    let [ours, theirs] = interleaved(
        ROUNDS,
        [case("relay", || ours(&pool, &urls)), case("raw pipelined publish", || theirs(&events, &urls))],
    )
    .await?;
    report.add(Figure {
        case: "200k events".to_owned(),
        unit: "events/s",
        ours,
        reference: "raw pipelined publish".to_owned(),
        theirs: Some(theirs),
        n: EVENTS * ROUNDS,
        floor: Some(Floor::AtLeast(0.7)),
    })?;
    servers.stop().await;
    report.finish()
}

/// Events per second from the log into a stream that was not there before.
async fn ours(pool: &PgPool, urls: &Urls) -> anyhow::Result<f64> {
    raw::clear(urls).await?;
    // No stream's name is ever used again: the relay makes the one of the next epoch.
    let epoch: i32 = sqlx::query_scalar("update ledger set epoch = epoch + 1 returning epoch").fetch_one(pool).await?;
    let (store, _writer) =
        Store::open(pool.clone(), pool.connect_options().as_ref().clone(), &store::Options::default());
    let bus = Bus::connect(&urls.relay, "relay bench").await?;
    while !bus.is_connected() {
        tokio::task::yield_now().await;
    }
    let relay = Relay::new(store, bus, Options::default());
    let mut status = relay.status();
    let soft = CancellationToken::new();
    let head = i64::try_from(EVENTS)?;
    let begin = Instant::now();
    let relaying = tokio::spawn(relay.run(soft.clone()));
    let last = *status.wait_for(|status| status.relayed >= head || status.failing).await?;
    let seconds = begin.elapsed().as_secs_f64();
    soft.cancel();
    relaying.await??;
    ensure!(!last.failing, "the relay failed");
    raw::verify(urls, &stream::name(epoch), EVENTS).await?;
    Ok(rate(seconds))
}

/// The same by nothing but a client.
async fn theirs(events: &[Recorded], urls: &Urls) -> anyhow::Result<f64> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    raw::clear(urls).await?;
    let name = format!("RAW_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let messages = events.iter().cloned().map(nats::message::write).collect();
    let seconds = raw::publish(urls, &name, messages, Options::default().in_flight).await.context("publishing")?;
    raw::verify(urls, &name, EVENTS).await?;
    Ok(rate(seconds))
}

#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn rate(seconds: f64) -> f64 {
    EVENTS as f64 / seconds
}
