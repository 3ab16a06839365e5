//! Programs of others that listen on the bus, over the same bad network as everybody.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull::OrderedConfig};
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::drill::record::{Heard, Listening, Subscriber};
use crate::drill::recorder::Recorder;

/// After so long without a message it is asked whether the stream is still the same.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(200);

/// Listens in both ways, until it is told to stop.
pub async fn run(url: &str, recorder: &Recorder, stop: &CancellationToken) {
    let places = {
        let mut record = recorder.note();
        let first = record.subscribers.len();
        for listening in [Listening::Ordered, Listening::Plain] {
            record.subscribers.push(Subscriber { listening, heard: Vec::new() });
        }
        (first, first + 1)
    };
    // Whatever goes wrong, a subscriber comes back.
    let in_order = async {
        loop {
            let _ = ordered(url, recorder, places.0).await;
            sleep(PAUSE).await;
        }
    };
    let at_once = async {
        loop {
            let _ = plain(url, recorder, places.1).await;
            sleep(PAUSE).await;
        }
    };
    let both = Box::pin(async { tokio::join!(in_order, at_once) });
    stop.run_until_cancelled(both).await;
}

/// How far the ordered subscriber has come.
pub fn position(recorder: &Recorder) -> u64 {
    let record = recorder.note();
    let ordered = record.subscribers.iter().find(|subscriber| subscriber.listening == Listening::Ordered);
    ordered.and_then(|subscriber| subscriber.heard.last()).map_or(0, |heard| heard.position)
}

/// By position: goes on after the last that it has, in whatever stream holds the events now. As any program must that is
/// not to miss anything, it takes the next sequence and no other: a stream that was damaged inside skips what it has lost
/// in silence, until the relay makes it anew; and the library's ordered consumer, made anew before its first message,
/// begins at 1.
async fn ordered(url: &str, recorder: &Recorder, place: usize) -> anyhow::Result<()> {
    let jetstream = jetstream::new(connect(url).await?);
    loop {
        sleep(PAUSE).await;
        let name = jetstream.stream_by_subject("events.>").await?;
        let stream = jetstream.get_stream(&name).await?;
        let mut next = recorder.note().subscribers[place].heard.last().map_or(1, |heard| heard.position + 1);
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: next };
        let consumer = stream.create_consumer(OrderedConfig { deliver_policy, ..OrderedConfig::default() }).await?;
        let mut messages = consumer.messages().await?;
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(Ok(message))) => {
                    let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
                    let (stream, sequence) = (Some(info.stream.to_owned()), info.stream_sequence);
                    if sequence < next {
                        continue;
                    }
                    if sequence > next {
                        recorder.note().holes += 1;
                        break;
                    }
                    let heard = heard(&message.subject, message.headers.as_ref(), stream, Some(sequence));
                    let heard = heard.context("a message without its headers")?;
                    next += 1;
                    recorder.note().subscribers[place].heard.push(heard);
                }
                // A subscriber need not know why: it asks anew.
                Ok(_) => break,
                Err(_) => {
                    if jetstream.stream_by_subject("events.>").await? != name {
                        break;
                    }
                }
            }
        }
    }
}

async fn plain(url: &str, recorder: &Recorder, place: usize) -> anyhow::Result<()> {
    let client = connect(url).await?;
    let mut messages = client.subscribe("events.>").await?;
    while let Some(message) = messages.next().await {
        if let Some(heard) = heard(&message.subject, message.headers.as_ref(), None, None) {
            recorder.note().subscribers[place].heard.push(heard);
        }
    }
    Ok(())
}

fn heard(subject: &str, headers: Option<&HeaderMap>, stream: Option<String>, sequence: Option<u64>) -> Option<Heard> {
    let header = |name: &str| headers?.get(name).map(|value| value.as_str().to_owned());
    Some(Heard {
        stream,
        sequence,
        position: header("ce-position")?.parse().ok()?,
        epoch: header("ce-epoch")?.parse().ok()?,
        event_id: header("ce-id")?.parse().ok()?,
        subject: subject.to_owned(),
    })
}

async fn connect(url: &str) -> anyhow::Result<async_nats::Client> {
    let address: async_nats::ServerAddr = url.parse().context("NATS' URL")?;
    let user = address.username().unwrap_or_default().to_owned();
    let password = address.password().unwrap_or_default().to_owned();
    Ok(async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await?)
}
