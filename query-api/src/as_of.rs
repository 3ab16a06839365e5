//! How things were: folded from the log at once, by the very folds that make the read models.

use std::pin::pin;

use chrono::{DateTime, Utc};
use events::{Fold, clock};
use futures_util::TryStreamExt as _;
use service::http::Problem;
use uuid::Uuid;

use crate::reading::Reading;

/// The place in the log that `?as_of=` names: itself, or that of the last event at that time. 422 for what is not there yet.
pub async fn position(reading: &Reading, text: &str) -> Result<i64, Problem> {
    let wrong = |why: String| Err(Problem::invalid_parameter("as_of", why));
    if let Ok(position) = text.parse::<i64>() {
        let head = reading.store.head().await?;
        return match position {
            0.. if position <= head => Ok(position),
            0.. => wrong(format!("is past the end of the log, {head}")),
            _ => wrong("must not be negative".to_owned()),
        };
    }
    match DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)) {
        Ok(time) if time > clock::now() => wrong("is in the future".to_owned()),
        Ok(time) => Ok(reading.store.position_at(time).await?),
        Err(_) => wrong(
            "is neither a position of the log nor a time as 2026-11-20T18:23:00Z (in a URL, + is written %2B)"
                .to_owned(),
        ),
    }
}

/// The thing `id` as it was at `position`; none if it was not there.
pub async fn row<R: Fold>(reading: &Reading, id: Uuid, position: i64) -> Result<Option<R>, Problem> {
    let (streams, things) = ([R::STREAM], [id]);
    let mut events = pin!(reading.store.of(&streams, &things, position));
    let mut row = None;
    while let Some(event) = events.try_next().await? {
        R::apply(&mut row, &event)?;
    }
    Ok(row)
}
