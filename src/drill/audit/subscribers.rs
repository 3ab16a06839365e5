//! What subscribers heard while everything was being crashed, against the log as it is in the end.

use std::collections::HashMap;

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Finding;
use crate::drill::record::{Heard, Listening, Outcome, Record};

/// What the log says of a position.
struct There {
    event_id: Uuid,
    epoch: u64,
    subject: String,
}

/// Whether each heard what the log has, and those who read in order all of it, once, at least up to the last command that
/// was accepted. What they were told wrong, they were told: every breach here is final.
pub(super) async fn compare(record: &Record, database: &mut PgConnection, found: &mut Finding) -> anyhow::Result<()> {
    let subscribers = &record.subscribers;
    let rows = sqlx::query(
        "select position, event_id, epoch, 'events.' || coalesce(scope::text, 'public') || '.' || stream || '.' || id || '.' || kind
         from event",
    )
    .fetch_all(database)
    .await?;
    let mut log = HashMap::with_capacity(rows.len());
    for row in rows {
        let there = There {
            event_id: row.try_get(1)?,
            epoch: u64::try_from(row.try_get::<i32, _>(2)?)?,
            subject: row.try_get(3)?,
        };
        log.insert(u64::try_from(row.try_get::<i64, _>(0)?)?, there);
    }
    let accepted = record.sent.iter().filter_map(|sent| match sent.outcome {
        Outcome::Accepted { position, .. } => u64::try_from(position).ok(),
        _ => None,
    });
    let accepted = accepted.max().unwrap_or(0);
    let (mut heard, mut in_order, mut again) = (0, 0, 0);
    for (number, subscriber) in (1..).zip(subscribers) {
        let ordered = subscriber.listening == Listening::Ordered;
        if subscriber.heard.is_empty() {
            found.lasting(format!("subscriber {number} heard nothing"));
        }
        in_order += u64::from(ordered);
        let (mut before, mut furthest) = (0, 0);
        for message in &subscriber.heard {
            heard += 1;
            found.seen(1);
            if let Some(difference) = difference(message, log.get(&message.position)) {
                found.lasting(format!("subscriber {number} heard position {}, which {difference}", message.position));
            } else if ordered && let Some(gap) = gap(before, message.position) {
                found.lasting(format!("subscriber {number}, who reads in order, {gap}"));
            }
            again += u64::from(ordered && message.position <= before);
            before = message.position;
            furthest = furthest.max(before);
        }
        if ordered && furthest < accepted {
            found.lasting(format!("subscriber {number} heard nothing after {furthest}, and {accepted} was accepted"));
        }
    }
    found.figure("messages that subscribers heard", heard);
    found.figure("times that a stream made anew was heard from an earlier position", again);
    found.check(in_order > 0, || "nobody listened in order, so nothing is proved about those who do".to_owned());
    Ok(())
}

fn difference(heard: &Heard, there: Option<&There>) -> Option<String> {
    let Heard { sequence, position, .. } = heard;
    match there {
        _ if sequence.is_some_and(|sequence| sequence != *position) => Some(format!(
            "was stored at sequence {} of {}",
            sequence.unwrap_or(0),
            heard.stream.as_deref().unwrap_or("?")
        )),
        None => Some("the log does not have".to_owned()),
        Some(there) if there.event_id != heard.event_id => Some("is another event in the log".to_owned()),
        Some(there) if there.epoch != heard.epoch => Some("has another epoch in the log".to_owned()),
        Some(there) if there.subject != heard.subject => Some("has another subject in the log".to_owned()),
        Some(_) => None,
    }
}

/// What is wrong with hearing position `now` after `before`, which is 0 for none.
///
/// A server that is asked for messages after the end of a stream begins with the next that comes: who asks a stream that is
/// being made anew hears again what they know, and can tell by the sequence. That is no gap, and no event stored twice, which
/// would stand at another sequence than its position.
fn gap(before: u64, now: u64) -> Option<String> {
    let is_next = now == before + 1;
    let is_again = now < before;
    (!is_next && !is_again).then(|| format!("heard position {now} after {before}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(position: u64, sequence: u64) -> Heard {
        Heard {
            stream: Some("EVENTS_1".to_owned()),
            sequence: Some(sequence),
            position,
            epoch: 1,
            event_id: Uuid::from_u128(position.into()),
            subject: "events.public.specialty.x.specialty_created".to_owned(),
        }
    }

    #[test]
    fn what_was_heard_wrong_is_told() {
        let there = |id| There { event_id: Uuid::from_u128(id), epoch: 1, subject: heard(1, 1).subject };
        assert_eq!(difference(&heard(1, 1), Some(&there(1))), None);
        for (message, there) in [
            (heard(1, 2), Some(there(1))),
            (heard(1, 1), Some(there(2))),
            (heard(1, 1), Some(There { epoch: 2, ..there(1) })),
            (heard(1, 1), Some(There { subject: "events".to_owned(), ..there(1) })),
            (heard(1, 1), None),
        ] {
            assert!(difference(&message, there.as_ref()).is_some(), "{message:?}");
        }
    }

    #[test]
    fn who_reads_in_order_misses_nothing_and_hears_nothing_twice() {
        assert_eq!(gap(0, 1), None);
        assert_eq!(gap(1, 2), None);
        assert!(gap(0, 2).is_some());
        assert!(gap(1, 3).is_some());
        assert!(gap(2, 2).is_some());
        // A stream that is made anew.
        assert_eq!(gap(7, 1), None);
        assert_eq!(gap(1, 2), None);
    }
}
