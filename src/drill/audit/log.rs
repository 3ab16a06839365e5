//! I2: the log itself: positions, versions, hashes.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Finding, Promise, Scene};
use crate::drill::record::Outcome;

pub(super) const PROMISE: Promise = (
    "I2",
    "positions are 1 to N and versions 1 to n of each stream, without a gap or a repetition, and every hash is right",
);

/// The hash of a row, from its columns as they are stored (docs/architecture.md).
const BAD_HASHES: &str = r#"
    select position, count(*) over () as all from event
    where hash is distinct from sha256(convert_to(concat_ws(E'\n',
        event_id, stream, id, version, kind, schema, coalesce(scope::text, ''),
        to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        encode(sha256(convert_to(data::text, 'utf8')), 'hex'),
        encode(sha256(convert_to(meta::text, 'utf8')), 'hex')), 'utf8'))
    order by position limit 5"#;

const BAD_STREAMS: &str = "
    select stream, id, count(*) as events, count(distinct version) as versions, min(version) as first,
           max(version) as last, count(*) over () as all
    from event group by stream, id
    having min(version) <> 1 or max(version) <> count(*) or count(distinct version) <> count(*)
    limit 5";

/// A stream's events must follow one another in the log, too, and no epoch comes before an earlier one.
const OUT_OF_ORDER: &str = "
    select position, count(*) over () as all
    from (select position, position < lag(position) over (partition by stream, id order by version) as earlier,
                 epoch < lag(epoch) over (order by position) as older from event) e
    where earlier or older
    order by position limit 5";

/// Whether the log is whole. Nothing that it lacks ever comes back, so a breach here is final.
pub(super) async fn chained(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut snapshot = scene.snapshot().await?;
    let row = sqlx::query(
        "select count(*) as events, count(distinct position) as positions, count(distinct event_id) as ids,
                coalesce(min(position), 0) as first, coalesce(max(position), 0) as last,
                count(distinct (stream, id)) as streams from event",
    )
    .fetch_one(&mut *snapshot)
    .await?;
    let number = |name: &str| row.try_get::<i64, _>(name);
    let (events, first, last) = (number("events")?, number("first")?, number("last")?);
    found.seen(usize::try_from(events)?);
    if events > 0 && (first != 1 || last != events || number("positions")? != events) {
        found.lasting(format!("{events} events have the positions {first} to {last}"));
    }
    if number("ids")? != events {
        found.lasting(format!("{events} events have {} ids", number("ids")?));
    }
    found.figure("events", u64::try_from(events)?);
    found.figure("streams", u64::try_from(number("streams")?)?);
    for row in sqlx::query(BAD_STREAMS).fetch_all(&mut *snapshot).await? {
        let (stream, id): (String, uuid::Uuid) = (row.try_get("stream")?, row.try_get("id")?);
        let (events, first, last): (i64, i32, i32) =
            (row.try_get("events")?, row.try_get("first")?, row.try_get("last")?);
        let all: i64 = row.try_get("all")?;
        found.lasting(format!("{stream} {id} has {events} events with versions {first} to {last} (one of {all} such)"));
    }
    for (what, query) in [("has another hash than it should", BAD_HASHES), ("is out of order", OUT_OF_ORDER)] {
        for row in sqlx::query(query).fetch_all(&mut *snapshot).await? {
            let (position, all): (i64, i64) = (row.try_get("position")?, row.try_get("all")?);
            found.lasting(format!("event {position} {what} (one of {all} such)"));
        }
    }
    Ok(found)
}

/// What there was, for the report.
pub(super) async fn counts(scene: &Scene<'_>) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for sent in &scene.record.sent {
        let (name, status) = match &sent.outcome {
            Outcome::Accepted { replayed: true, .. } => ("commands replayed", None),
            Outcome::Accepted { .. } => ("commands accepted", None),
            Outcome::Refused { status, .. } => ("commands refused", Some(status)),
            Outcome::Unknown { .. } => ("commands of unknown outcome", None),
        };
        *counts.entry("commands".to_owned()).or_default() += 1;
        *counts.entry(name.to_owned()).or_default() += 1;
        if let Some(status) = status {
            *counts.entry(format!("{name}, {status}")).or_default() += 1;
        }
    }
    counts.insert("queries about private rows".to_owned(), scene.record.readings.len() as u64);
    let heard: usize = scene.record.subscribers.iter().map(|subscriber| subscriber.heard.len()).sum();
    counts.insert("messages that subscribers heard".to_owned(), heard as u64);
    let rows = sqlx::query("select kind, count(*) from event group by kind").fetch_all(&scene.pool).await?;
    for row in rows {
        let (kind, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let count = u64::try_from(count)?;
        *counts.entry("events".to_owned()).or_default() += count;
        counts.insert(format!("events, {kind}"), count);
    }
    let epoch: i32 = sqlx::query_scalar("select epoch from ledger").fetch_one(&scene.pool).await?;
    counts.insert("epoch of the log".to_owned(), u64::try_from(epoch)?);
    Ok(counts)
}
