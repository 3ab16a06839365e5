//! Bringing a stretch of the log into the stream, thousands of messages in flight.
//!
//! Every message names the sequence that it must follow, so the server refuses a duplicate, a gap and a second relay. All
//! answers come to one inbox in the order of the messages: the nth answer must be the nth position.

use std::{collections::VecDeque, time::Duration};

use async_nats::{HeaderMap, StatusCode, Subject, Subscriber, header};
use event_store::{Store, failpoint, plant, store::Identity};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::Options;
use crate::{
    Bus, Error, message,
    pages::{self, Pages},
    stream,
};

/// How long one stretch may last: between two, the relay looks after its lease.
const STRETCH: Duration = Duration::from_secs(1);

/// `JSStreamWrongLastSequenceErrF` of nats-server.
const WRONG_LAST_SEQUENCE: u64 = 10071;

/// Publishing to one stream, until the first thing that is not as expected.
pub(super) struct Publisher {
    bus: Bus,
    stream: String,
    /// The last position that the server has acknowledged, and its event.
    acknowledged: i64,
    last: Option<Identity>,
    inbox: Subject,
    answers: Subscriber,
}

/// A message that is ready to go.
struct Ready {
    position: i64,
    identity: Identity,
    weight: usize,
    message: message::Message,
}

/// What the server says to a message.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Refusal {
    /// Why the event at `position` was refused, and what to do about it where that is known.
    fn of(&self, position: i64) -> String {
        let Self { err_code, description } = self;
        let why = format!("event {position} was refused: {description} ({err_code})");
        // "wrong last sequence: 41", when 41 is what it was told: the server counts on after a write that has failed.
        let told = description.rsplit(' ').next().and_then(|last| last.parse().ok()) == Some(position - 1);
        if *err_code == WRONG_LAST_SEQUENCE && told {
            return format!(
                "{why}; it stores nothing any more, as after a full disk: make room, and restart nats-server"
            );
        }
        why
    }
}

impl Publisher {
    /// One that goes on after the position `after`, where the log has the event `last`.
    pub(super) async fn new(bus: &Bus, epoch: i32, after: i64, last: Option<Identity>) -> Result<Self, Error> {
        let (after, last) = if plant::planted(plant::RELAY) && after > 0 { (after - 1, None) } else { (after, last) };
        let inbox = Subject::from(bus.client().new_inbox());
        let answers = bus.client().subscribe(inbox.clone()).await.map_err(Error::bus("subscribing"))?;
        Ok(Self { bus: bus.clone(), stream: stream::name(epoch), acknowledged: after, last, inbox, answers })
    }

    pub(super) fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Publishes what the log has after the last acknowledged position, and waits until all of it is acknowledged. Whether
    /// there was more, for which the time was too short.
    pub(super) async fn stretch(&mut self, store: &Store, options: &Options) -> Result<bool, Error> {
        let mut pages = Pages::new();
        // Mostly this is all, and goes at once.
        let (mut waiting, mut more) = page(store, &mut pages, self.acknowledged, self.last).await?;
        let (sender, mut batches) = mpsc::channel(2);
        // Where it is not, reading and encoding go beside publishing; the task ends with this set.
        let mut reading = JoinSet::new();
        if more && let Some(end) = waiting.back() {
            reading.spawn(read(store.clone(), pages, end.position, end.identity, sender));
        }
        let mut flight: VecDeque<(usize, Identity)> = VecDeque::new();
        let mut weight = 0;
        loop {
            while flight.len() < options.in_flight
                && (weight < options.in_flight_bytes)
                && let Some(ready) = waiting.pop_front()
            {
                weight += ready.weight;
                flight.push_back((ready.weight, ready.identity));
                self.send(ready).await?;
            }
            tokio::select! {
                biased;
                answer = timeout(options.patience, self.answers.next()), if !flight.is_empty() => {
                    let mut answer = answer.map_err(|_| Error::Late("an event was not acknowledged"))?;
                    loop {
                        self.check(&answer.ok_or(Error::Disconnected)?)?;
                        if let Some((lighter, identity)) = flight.pop_front() {
                            weight -= lighter;
                            self.last = Some(identity);
                        }
                        if flight.is_empty() {
                            break;
                        }
                        // Whatever else has come already.
                        match self.answers.next().now_or_never() {
                            Some(next) => answer = next,
                            None => break,
                        }
                    }
                }
                batch = batches.recv(), if more && waiting.is_empty() => match batch {
                    Some(batch) => waiting = batch?,
                    None => more = false,
                },
                else => return Ok(reading.join_next().await.is_some_and(|more| more.unwrap_or(false))),
            }
        }
    }

    async fn send(&self, ready: Ready) -> Result<(), Error> {
        let Ready { position, message: message::Message { subject, mut headers, payload }, .. } = ready;
        if !plant::planted(plant::RELAY) {
            expect(&mut headers, &self.stream, position - 1);
        }
        self.bus
            .client()
            .publish_with_reply_and_headers(subject, self.inbox.clone(), headers, payload)
            .await
            .map_err(Error::bus("publishing an event"))?;
        failpoint::reach("relay.sent");
        Ok(())
    }

    /// One answer: the acknowledgement of the next position, or the end.
    fn check(&mut self, answer: &async_nats::Message) -> Result<(), Error> {
        let doing = "publishing an event";
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Error::Bus { doing, why: "no stream takes it".to_owned() });
        }
        let Answer { seq, error } = serde_json::from_slice(&answer.payload).map_err(Error::bus(doing))?;
        let expected = self.acknowledged + 1;
        match error {
            Some(refusal) => Err(Error::Bus { doing, why: refusal.of(expected) }),
            None if u64::try_from(expected) == Ok(seq) || plant::planted(plant::RELAY) => {
                self.acknowledged = expected;
                failpoint::reach("relay.acknowledged");
                Ok(())
            }
            None => Err(Error::Bus { doing, why: format!("event {expected} was stored at sequence {seq}") }),
        }
    }
}

fn expect(headers: &mut HeaderMap, stream: &str, last: i64) {
    headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
    // A message that waited in the client while the connection was away must not get into a later epoch's stream.
    headers.insert(header::NATS_EXPECTED_STREAM, stream);
}

/// What the log has after a position, as messages; whether there may be more.
async fn page(
    store: &Store,
    pages: &mut Pages,
    after: i64,
    last: Option<Identity>,
) -> Result<(VecDeque<Ready>, bool), Error> {
    let (events, more) = pages.next(store, after, last, usize::MAX).await?;
    Ok((events.into_iter().map(Ready::new).collect(), more))
}

/// Reads the log after a position and hands it on as messages, until its end or for about as long as a stretch;
/// whether there is more.
async fn read(
    store: Store,
    mut pages: Pages,
    mut after: i64,
    mut last: Identity,
    batches: mpsc::Sender<Result<VecDeque<Ready>, Error>>,
) -> bool {
    let until = Instant::now() + STRETCH;
    loop {
        let (batch, more) = match page(&store, &mut pages, after, Some(last)).await {
            Ok((batch, more)) => (Ok(batch), more),
            Err(error) => (Err(error), false),
        };
        if let Ok(Some(ready)) = batch.as_ref().map(VecDeque::back) {
            after = ready.position;
            last = ready.identity;
        }
        // The publisher has given up when nobody takes it.
        if batches.send(batch).await.is_err() || !more || Instant::now() >= until {
            return more;
        }
    }
}

impl Ready {
    fn new(event: event_store::Recorded) -> Self {
        Self {
            position: event.position,
            identity: pages::identity(&event),
            weight: event.weight(),
            message: message::write(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn a_server_that_cannot_write_is_told_from_one_that_has_another_event() {
        let told = |err_code, description: &str| Refusal { err_code, description: description.to_owned() }.of(42);
        assert_eq!(
            told(10071, "wrong last sequence: 41"),
            "event 42 was refused: wrong last sequence: 41 (10071); it stores nothing any more, as after a full disk: make room, \
             and restart nats-server"
        );
        assert_eq!(told(10071, "wrong last sequence: 42"), "event 42 was refused: wrong last sequence: 42 (10071)");
        assert_eq!(told(10077, "maximum bytes exceeded"), "event 42 was refused: maximum bytes exceeded (10077)");
    }
}
