//! The messages on NATS, walked along beside the log.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::finding::{Findings, What};
use super::places::Places;
use super::row::Row;
use crate::message::{self, Bus, Stored};

/// The stream of events.
pub struct Messages {
    /// Its name.
    pub name: String,
    /// Its first message.
    pub first: i64,
    /// How many were compared.
    pub compared: u64,
    stream: BoxStream<'static, anyhow::Result<Stored>>,
    next: Option<Stored>,
    places: Places<Uuid>,
}

impl Messages {
    /// The stream that the server at `url` has, once it goes to the log's `end`; the relay has `patience` to bring it there.
    pub async fn connect(url: &str, end: i64, patience: Duration, found: &mut Findings) -> anyhow::Result<Self> {
        let mut bus = Bus::find(message::connect(url).await?).await?;
        let until = Instant::now() + patience;
        let info = loop {
            let info = bus.info().await?;
            if i64::try_from(info.state.last_sequence)? >= end || Instant::now() > until {
                break info;
            }
            sleep(Duration::from_millis(50)).await;
        };
        let (name, state) = (info.config.name, info.state);
        if i64::try_from(state.last_sequence)? < end {
            let how = format!("{name} ends at {}, and the log at {end}: is the relay at work?", state.last_sequence);
            found.about(What::Stream, how);
        }
        let stream = bus.messages(usize::try_from(state.messages)?).await?.boxed();
        let first = i64::try_from(state.first_sequence)?;
        Ok(Self { name, first, compared: 0, stream, next: None, places: Places::new() })
    }

    /// Compares the event `row` with its message.
    pub async fn compare(&mut self, row: &Row, found: &mut Findings) -> anyhow::Result<()> {
        let position = row.event.position;
        let Some(message) = self.at(position).await? else {
            if position >= self.first && self.next.is_some() {
                found.at(What::Stream, position, format!("{} has no message at its sequence", self.name));
            }
            return Ok(());
        };
        self.compared += 1;
        let Some(difference) = row.message.difference(&message) else {
            self.places.compare(position, row.event.event_id, row.event.event_id);
            return Ok(());
        };
        let id = message.headers.get("ce-id").and_then(|id| id.parse().ok()).unwrap_or_default();
        if self.places.compare(position, id, row.event.event_id) {
            found.at(What::Changed, position, format!("the message at its sequence {difference}"));
        }
        Ok(())
    }

    /// The message at this sequence, if there is one. To be asked in order.
    async fn at(&mut self, position: i64) -> anyhow::Result<Option<Stored>> {
        loop {
            let next = match self.next.take() {
                Some(next) => next,
                None => match self.stream.next().await.transpose()? {
                    Some(next) => next,
                    None => return Ok(None),
                },
            };
            let sequence = i64::try_from(next.sequence)?;
            if sequence == position {
                return Ok(Some(next));
            }
            if sequence > position {
                self.next = Some(next);
                return Ok(None);
            }
        }
    }

    /// Says which events have the messages of others.
    pub fn finish(&self, found: &mut Findings) {
        for (difference, what) in self.places.differences() {
            let (was, more) = (difference.was, difference.whereabouts());
            found.at(what, difference.position, format!("the message at its sequence is the event {was}{more}"));
        }
        if let Some(more) = self.places.not_followed() {
            found.about(What::Stream, format!("{more} more messages are other events than the log has there"));
        }
    }
}
