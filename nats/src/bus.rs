//! The connection to NATS, one for a process and role; it comes and goes by itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection, jetstream};
use bytes::Bytes;
use event_store::Recorded;
use futures_util::{Stream, StreamExt as _, future, stream};
use percent_encoding::percent_decode_str;
use tokio::{sync::watch, time::timeout};

use crate::{Error, message, server, subject};

/// How long a request waits for JetStream's answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The address alone: the client logs what it is given.
fn without_login(address: ServerAddr) -> Result<ServerAddr, Error> {
    let unusable =
        |e| Error::Address(async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::ServerParse, e));
    let mut url = address.into_inner();
    // Refused by a URL that cannot have one.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    ServerAddr::from_url(url).map_err(unusable)
}

/// A handle on the connection; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    client: Client,
    jetstream: jetstream::Context,
    connections: Arc<watch::Sender<u64>>,
}

impl Bus {
    /// Connects to the server at `url` (`nats://user:password@host:port`) under `name`, which the server shows.
    ///
    /// A server that is down is no error: the client goes on trying, for ever. Only an unusable address is.
    pub async fn connect(url: &str, name: &str) -> Result<Self, Error> {
        let address: ServerAddr = url.parse().map_err(|e| {
            Error::Address(async_nats::ConnectError::with_source(async_nats::ConnectErrorKind::ServerParse, e))
        })?;
        let connections = Arc::new(watch::Sender::new(0));
        let counter = connections.clone();
        let mut options = ConnectOptions::new()
            .name(format!("daybook {name}"))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                Duration::from_millis(20 << attempt.clamp(1, 6)).min(Duration::from_secs(1))
            })
            .connection_timeout(Duration::from_secs(3))
            .request_timeout(Some(PATIENCE))
            .ping_interval(Duration::from_secs(5))
            .event_callback(move |event| {
                note(&event, &counter);
                future::ready(())
            });
        if let Some(user) = address.username() {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let user = decode(user);
            if let Some(prefix) = server::inbox(&user) {
                options = options.custom_inbox_prefix(prefix);
            }
            options = options.user_and_password(user, address.password().map(decode).unwrap_or_default());
        }
        let address = without_login(address)?;
        let client = options.connect(address).await.map_err(Error::Address)?;
        let jetstream = jetstream::ContextBuilder::new().timeout(PATIENCE).build(client.clone());
        Ok(Self { client, jetstream, connections })
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == connection::State::Connected
    }

    /// Whether JetStream answers, within about a second; else what is wrong.
    pub async fn healthy(&self) -> Result<(), String> {
        if !self.is_connected() {
            return Err("not connected".to_owned());
        }
        match timeout(Duration::from_secs(1), self.jetstream.query_account()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("JetStream does not answer".to_owned()),
        }
    }

    /// Whether there is a stream of events. Not before the first relay of a new server has made it.
    pub async fn has_events(&self) -> bool {
        self.is_connected() && crate::stream::find(self).await.is_ok_and(|stream| stream.is_some())
    }

    /// Tells who listens how far a projection has come. Best effort: at once, or not at all while the server is away.
    pub async fn publish_progress(&self, projection: &str, position: i64) {
        self.tell(format!("ops.projection.{projection}"), position.to_string()).await;
    }

    /// Tells who listens, in one message, how far several projections have come past events that do not concern them: a JSON
    /// object with the position of each, by name. Best effort, too.
    pub async fn publish_positions(&self, positions: &[(&str, i64)]) {
        let positions: serde_json::Map<_, _> =
            positions.iter().map(|(name, position)| ((*name).to_owned(), (*position).into())).collect();
        self.tell(subject::POSITIONS.to_owned(), serde_json::Value::from(positions).to_string()).await;
    }

    /// Tells who listens how far a rebuild of a projection has come, as a JSON object on the same subject: those who wait for
    /// a position pass it over. Best effort, too.
    pub async fn publish_rebuild(&self, projection: &str, json: String) {
        self.tell(format!("ops.projection.{projection}"), json).await;
    }

    /// Tells who listens of a new signed head of the log, as JSON. Best effort, likewise.
    pub async fn publish_head(&self, json: String) {
        self.tell(subject::HEAD.to_owned(), json).await;
    }

    async fn tell(&self, subject: String, text: String) {
        if !self.is_connected() {
            return;
        }
        let publish = self.client.publish(subject.clone(), Bytes::from(text));
        // The client's queue is full when the connection has just gone; then nobody hears it anyway.
        if let Ok(Err(error)) = timeout(Duration::from_millis(50), publish).await {
            tracing::debug!(%error, subject, "it was not told");
        }
    }

    /// The positions of all projections as they are told, by name. What was told before is not heard, nor what is told while
    /// the server is away.
    pub async fn progress(&self) -> Result<impl Stream<Item = (String, i64)> + Send + Unpin + use<>, Error> {
        let one = self.client.subscribe("ops.projection.*").await.map_err(Error::bus("subscribing"))?;
        let several = self.client.subscribe(subject::POSITIONS).await.map_err(Error::bus("subscribing"))?;
        let one = one.filter_map(|message| {
            let name = message.subject.strip_prefix("ops.projection.").map(str::to_owned);
            let position = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            future::ready(name.zip(position))
        });
        let several = several.flat_map(|message| {
            let positions: BTreeMap<String, i64> = serde_json::from_slice(&message.payload).unwrap_or_default();
            stream::iter(positions)
        });
        Ok(stream::select(one, several))
    }

    /// The events of one kind as they are published: a plain subscription, which may repeat an event, miss some while the
    /// server is away, and hear one before it is stored. For waking up, never for counting.
    pub async fn heard(
        &self,
        stream: &str,
        kind: &str,
    ) -> Result<impl Stream<Item = Recorded> + Send + Unpin + use<>, Error> {
        let heard = self.client.subscribe(subject::every(stream, kind)).await.map_err(Error::bus("subscribing"))?;
        Ok(heard.filter_map(|heard| {
            let event = heard.headers.as_ref().and_then(|h| message::read(&heard.subject, h, &heard.payload).ok());
            future::ready(event)
        }))
    }

    /// Sends what is queued and closes the connection, within about a second.
    pub async fn drain(&self) {
        self.flush().await;
        let _ = timeout(Duration::from_millis(100), self.client.drain()).await;
    }

    /// Sends what is queued, within about a second.
    pub(crate) async fn flush(&self) {
        if self.is_connected() {
            // Flushing fails when the connection goes away, and then nothing can be sent any more.
            let _ = timeout(Duration::from_secs(1), self.client.flush()).await;
        }
    }

    /// How often the connection has come up or gone down. What was in flight when this changes is not to be relied on.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }
}

/// Counts and logs what the connection does.
fn note(event: &Event, connections: &watch::Sender<u64>) {
    match event {
        Event::Connected | Event::Disconnected => {
            connections.send_modify(|n| *n += 1);
            tracing::info!(%event, "the connection to NATS");
        }
        Event::Closed | Event::Draining => tracing::debug!(%event, "the connection to NATS"),
        Event::LameDuckMode | Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "the connection to NATS");
        }
    }
}
