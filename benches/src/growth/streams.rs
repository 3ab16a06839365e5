//! What an append and a load cost with the same number of events spread over so many streams.

use std::{sync::Arc, time::Instant};

use events::{
    Meta, Store, clock,
    store::{Append, New},
};
use sqlx::Executor as _;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Growth, each, place::Place, short};
use crate::harness::sized;

/// The events of the log.
const EVENTS: usize = sized(300_000, 20_000);
const CALLERS: usize = 256;
/// How many appends are measured.
const APPENDS: usize = sized(20_000, 1024);
/// How many streams are loaded.
const LOADS: usize = sized(500, 20);

/// Ids as random ones would be; the same series makes the same.
const FILL: &str = "
    insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
    select r.position, 1, r.event_id, 'thing', r.id, r.version, 'done', 1, null, r.data::json, r.meta::json, r.at,
           sha256(convert_to(concat_ws(E'\\n', r.event_id, 'thing', r.id, r.version, 'done', 1, '',
               to_char(r.at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
               encode(sha256(convert_to(r.data, 'utf8')), 'hex'), encode(sha256(convert_to(r.meta, 'utf8')), 'hex')), 'utf8'))
    from (select n as position, md5('event' || n)::uuid as event_id, md5('thing' || (n - 1) % $2)::uuid as id,
                 ((n - 1) / $2 + 1)::integer as version, '{\"text\":\"' || repeat('x', 280) || '\"}' as data,
                 '{\"correlation_id\":\"' || md5('meta' || n)::uuid || '\"}' as meta,
                 timestamptz '2026-11-20' + n * interval '1 millisecond' as at
          from generate_series(1, $1::bigint) as n) as r";

pub(super) async fn measure(growth: &mut Growth) -> anyhow::Result<()> {
    for streams in [1000, 10_000, sized(100_000, 20_000)] {
        let place = Place::start().await?;
        let mut connection = place.pool.acquire().await?;
        connection.execute("set statement_timeout = 0").await?;
        sqlx::query(FILL).bind(i64::try_from(EVENTS)?).bind(i64::try_from(streams)?).execute(&mut *connection).await?;
        connection.execute("vacuum (analyze) event").await?;
        connection.execute("checkpoint").await?;
        connection.close().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar("select md5('thing' || n)::uuid from generate_series(0, $1 - 1) as n")
            .bind(i64::try_from(streams)?)
            .fetch_all(&place.pool)
            .await?;
        let store = place.store();
        let at = format!("{} of {} events", short(ids.len()), short(EVENTS));
        let begin = Instant::now();
        for n in 0..LOADS {
            store.stream("thing", ids[n * 7919 % ids.len()]).await?;
        }
        let whole = format!("{} of {} events", short(ids.len()), EVENTS / streams);
        growth.add("load of a stream, by streams", &whole, "µs", each(begin, LOADS), LOADS)?;
        let version = i32::try_from(EVENTS / streams)?;
        let cost = appends(&store, ids, version).await?;
        growth.add("append, by streams", &at, "µs/event", cost, APPENDS)?;
        place.stop().await?;
    }
    Ok(())
}

/// Microseconds an event of appending to streams that are at `version`, one after another by many callers.
async fn appends(store: &Store, ids: Vec<Uuid>, version: i32) -> anyhow::Result<f64> {
    let ids = Arc::new(ids);
    let mut callers = JoinSet::new();
    let begin = Instant::now();
    for caller in 0..CALLERS {
        let (store, ids) = (store.clone(), ids.clone());
        callers.spawn(async move {
            // Each caller has streams of its own.
            let own: Vec<Uuid> = ids.iter().skip(caller).step_by(CALLERS).copied().collect();
            for (n, expected) in (0..APPENDS / CALLERS).zip((version..).flat_map(|v| std::iter::repeat_n(v, own.len())))
            {
                let appended = store.append(append(own[n % own.len()], expected)).await?;
                appended.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(each(begin, APPENDS / CALLERS * CALLERS))
}

fn append(id: Uuid, expected: i32) -> Append {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(280));
    Append {
        stream: "thing",
        id,
        expected,
        scope: None,
        events: vec![New { event_id: clock::id(), kind: "done", schema: 1, data }],
        meta: Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    }
}
