//! What the bus must carry of an event, by the contract, and reading it from the stream: for those who check the product, and
//! so without its code.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// The subjects of all events.
const EVENTS: &str = "events.>";
/// How many messages are asked for at a time.
const BATCH: usize = 2000;
/// How long the next message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The columns that [`Expected`] reads.
pub const MESSAGE: &str = r#"
    position, 'events.' || coalesce(scope::text, 'public') || '.' || stream || '.' || id || '.' || kind as subject,
           data::text as data, event_id::text as "ce-id", position::text as "ce-position",
           version::text as "ce-streamversion", epoch::text as "ce-epoch", id::text as "ce-subject",
           'daybook.' || stream || '.' || kind || '.v' || schema as "ce-type",
           to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "ce-time",
           meta ->> 'actor' as "ce-actor", meta ->> 'correlation_id' as "ce-correlationid",
           meta ->> 'causation_id' as "ce-causationid", meta ->> 'traceparent' as traceparent"#;

/// The headers that come from columns of [`MESSAGE`].
const FROM_LOG: [&str; 11] = [
    "ce-id",
    "ce-position",
    "ce-streamversion",
    "ce-epoch",
    "ce-subject",
    "ce-type",
    "ce-time",
    "ce-actor",
    "ce-correlationid",
    "ce-causationid",
    "traceparent",
];

/// The headers that are the same for all.
const FIXED: [(&str, &str); 3] =
    [("ce-specversion", "1.0"), ("ce-source", "/daybook"), ("ce-datacontenttype", "application/json")];

/// An event and the message that it must be.
pub struct Expected {
    pub position: u64,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub data: String,
}

impl Expected {
    /// At most `limit` events after the position `after`.
    pub async fn after(database: &mut PgConnection, after: u64, limit: i64) -> anyhow::Result<Vec<Self>> {
        let sql = format!("select {MESSAGE} from event where position > $1 order by position limit $2");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(i64::try_from(after)?).bind(limit).fetch_all(database).await?;
        rows.iter().map(Self::read).collect()
    }

    /// The same of a row that has the columns of [`MESSAGE`] among others.
    pub fn read(row: &PgRow) -> anyhow::Result<Self> {
        let mut headers: BTreeMap<String, String> =
            FIXED.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for name in FROM_LOG {
            if let Some(value) = row.try_get::<Option<String>, _>(name)? {
                headers.insert(name.to_owned(), value);
            }
        }
        Ok(Self {
            position: u64::try_from(row.try_get::<i64, _>("position")?)?,
            subject: row.try_get("subject")?,
            headers,
            data: row.try_get("data")?,
        })
    }

    /// In what `stored` differs from what it must be; none if in nothing.
    pub fn difference(&self, stored: &Stored) -> Option<String> {
        if stored.sequence != self.position {
            return Some(format!("stands at sequence {}", stored.sequence));
        }
        if stored.subject != self.subject {
            return Some(format!("has the subject {} instead of {}", stored.subject, self.subject));
        }
        if stored.payload != self.data {
            return Some("has another payload than the data of the event".to_owned());
        }
        let expected = |name: &String| self.headers.get(name).map_or("none", String::as_str);
        let found = |name: &String| stored.headers.get(name).map_or("none", String::as_str);
        let mut names = self.headers.keys().chain(stored.headers.keys().filter(|name| is_ours(name)));
        let other = names.find(|name| expected(name) != found(name))?;
        Some(format!("has {other}: {} instead of {}", found(other), expected(other)))
    }
}

/// Headers that say something of the event: the server's and the relay's own are not among them, but for the one that would
/// have the server drop messages.
fn is_ours(name: &str) -> bool {
    !name.starts_with("Nats-") || name == "Nats-Msg-Id"
}

/// Connects to the server at `url`, as whoever it names.
pub async fn connect(url: &str) -> anyhow::Result<async_nats::Client> {
    let address: async_nats::ServerAddr = url.parse().context("the URL of NATS")?;
    let (user, password) = (address.username().unwrap_or_default(), address.password().unwrap_or_default());
    let mut options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    // Those hear answers under names of their own alone.
    if ["relay", "worker"].contains(&user) {
        options = options.custom_inbox_prefix(format!("_INBOX_{user}"));
    }
    options.connect(&address).await.context("connecting to NATS")
}

/// A message as the stream has it.
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub payload: String,
}

/// The stream that holds the events.
pub struct Bus {
    stream: jetstream::stream::Stream,
}

impl Bus {
    /// Finds it by its subjects: there must be exactly one.
    pub async fn find(client: async_nats::Client) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Names {
            #[serde(default)]
            streams: Option<Vec<String>>,
        }
        let context = jetstream::new(client);
        let asked = serde_json::json!({ "subject": EVENTS });
        let names: Names = context.request("STREAM.NAMES", &asked).await.context("finding the stream")?;
        let names = names.streams.unwrap_or_default();
        let [name] = names.as_slice() else { anyhow::bail!("the streams {names:?} hold {EVENTS}") };
        Ok(Self { stream: context.get_stream(name).await.context("looking at the stream")? })
    }

    /// What the server says of it now.
    pub async fn info(&mut self) -> anyhow::Result<jetstream::stream::Info> {
        Ok(self.stream.info().await.context("looking at the stream")?.clone())
    }

    /// Its first `count` messages, in order, each within [`PATIENCE`].
    pub async fn messages(
        &self,
        count: usize,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Stored>> + Unpin + use<>> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            memory_storage: true,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await.context("making a consumer")?;
        let messages =
            consumer.stream().max_messages_per_batch(BATCH).messages().await.context("reading the stream")?;
        let read = futures_util::stream::unfold(messages, |mut messages| async {
            let stored = match tokio::time::timeout(PATIENCE, messages.next()).await {
                Ok(Some(Ok(message))) => Stored::read(&message),
                Ok(Some(Err(error))) => Err(error.into()),
                Ok(None) => Err(anyhow::anyhow!("the stream's messages ended")),
                Err(_) => Err(anyhow::anyhow!("no message came for {} s", PATIENCE.as_secs())),
            };
            Some((stored, messages))
        });
        Ok(Box::pin(read.take(count)))
    }
}

impl Stored {
    fn read(message: &jetstream::Message) -> anyhow::Result<Self> {
        let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut headers = BTreeMap::new();
        for (name, values) in message.headers.iter().flat_map(async_nats::HeaderMap::iter) {
            let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
            headers.insert(name.to_string(), values.join(" and "));
        }
        Ok(Self {
            sequence: info.stream_sequence,
            subject: message.subject.to_string(),
            headers,
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
        })
    }
}
