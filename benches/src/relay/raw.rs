//! `JetStream` through the plain client: what a relay could at best be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use async_nats::{
    Client, ConnectOptions, ServerAddr, header,
    jetstream::{
        self,
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use daybook::system::Urls;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use nats::message::Message;

/// After a stream was deleted, the next can come up with its messages: never seen with half of this.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the next acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection as the relay's user, the only one that may publish events.
async fn connect(urls: &Urls) -> anyhow::Result<Client> {
    let address: ServerAddr = urls.relay.parse()?;
    let (user, password) = (address.username().unwrap_or_default(), address.password().unwrap_or_default());
    let options = ConnectOptions::new().custom_inbox_prefix("_INBOX_relay");
    let options = options.user_and_password(user.to_owned(), password.to_owned());
    options.connect(address).await.context("connecting to nats-server")
}

/// Drops every stream.
pub(super) async fn clear(urls: &Urls) -> anyhow::Result<()> {
    let jetstream = jetstream::new(connect(urls).await?);
    let names: Vec<String> = jetstream.stream_names().try_collect().await?;
    for name in names {
        jetstream.delete_stream(name).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Publishes `messages`, so many in flight, to a new stream that is kept as ours is, with all the headers that they have
/// there; the seconds from the first message to the last acknowledgement.
pub(super) async fn publish(urls: &Urls, name: &str, messages: Vec<Message>, in_flight: usize) -> anyhow::Result<f64> {
    let client = connect(urls).await?;
    let config = Config {
        name: name.to_owned(),
        subjects: vec!["events.>".to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: 1,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    };
    jetstream::new(client.clone()).create_stream(config).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.flush().await?;
    let messages = messages.into_iter().enumerate().map(|(last, mut message)| {
        message.headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        message.headers.insert(header::NATS_EXPECTED_STREAM, name);
        message
    });
    let mut waiting = messages.collect::<Vec<_>>().into_iter();
    let mut flying = 0;
    let begin = Instant::now();
    loop {
        while flying < in_flight
            && let Some(Message { subject, headers, payload }) = waiting.next()
        {
            client.publish_with_reply_and_headers(subject, inbox.clone(), headers, payload).await?;
            flying += 1;
        }
        if flying == 0 {
            return Ok(begin.elapsed().as_secs_f64());
        }
        let Some(_) = tokio::time::timeout(PATIENCE, answers.next()).await? else { bail!("the connection was lost") };
        flying -= 1;
        while flying > 0
            && let Some(Some(_)) = answers.next().now_or_never()
        {
            flying -= 1;
        }
    }
}

/// That the stream has so many messages, from 1 on.
pub(super) async fn verify(urls: &Urls, name: &str, messages: usize) -> anyhow::Result<()> {
    let stream = jetstream::new(connect(urls).await?).get_stream(name).await?;
    let state = &stream.cached_info().state;
    let (count, last) = (state.messages, state.last_sequence);
    let wanted = u64::try_from(messages)?;
    ensure!(count == wanted && last == wanted, "{name} has {count} messages up to {last}, not {wanted}");
    Ok(())
}
