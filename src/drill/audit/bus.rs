//! I3: the stream on the bus against the log.

use futures_util::StreamExt as _;

use super::{Finding, Promise, Scene, live, subscribers};
use crate::message::{Bus, Expected};

pub(super) const PROMISE: Promise = (
    "I3",
    "the message at sequence p is event p, none is missing and none is more; so it was for those who listened meanwhile",
);

/// How many events are read from the log at a time.
const PAGE: i64 = 5000;

/// Compares the whole stream with the whole log, and what subscribers heard with both.
pub(super) async fn equal(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut snapshot = scene.snapshot().await?;
    subscribers::compare(scene.record, &mut snapshot, &mut found).await?;
    live::compare(&scene.record.watched, &mut snapshot, &mut found).await?;
    let head: i64 =
        sqlx::query_scalar("select coalesce(max(position), 0) from event").fetch_one(&mut *snapshot).await?;
    let head = u64::try_from(head)?;
    let epoch: i32 = sqlx::query_scalar("select epoch from ledger").fetch_one(&mut *snapshot).await?;
    let mut bus = Bus::find(scene.bus().await?).await?;
    let info = bus.info().await?;
    let (name, state) = (info.config.name, info.state);
    found.check(name == format!("EVENTS_{epoch}"), || format!("the stream is {name}, the log in epoch {epoch}"));
    let bounds = (state.first_sequence, state.last_sequence, state.messages, state.deleted_count.unwrap_or(0));
    found.check(bounds == (1, head, head, 0), || {
        let (first, last, messages, deleted) = bounds;
        format!("{name} has {messages} messages from {first} to {last}, {deleted} deleted; the log has {head} events")
    });
    let mut messages = bus.messages(usize::try_from(state.messages)?).await?;
    let mut after = 0;
    loop {
        let page = Expected::after(&mut snapshot, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in page {
            // Fewer messages than events: the numbers above have told.
            let Some(stored) = messages.next().await else { return Ok(found) };
            let difference = event.difference(&stored?);
            found.check(difference.is_none(), || {
                format!("the message of event {} {}", event.position, difference.unwrap_or_default())
            });
        }
    }
    found.figure("messages compared", head);
    let now = bus.info().await?;
    found.check(now.config.name == name && now.state.last_sequence == state.last_sequence, || {
        format!("{name} was changed while it was read")
    });
    Ok(found)
}
