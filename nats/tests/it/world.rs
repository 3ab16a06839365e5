//! What every test here begins with: a log, a nats-server as we configure it, and ways to look at both.

use std::{future::Future, str::FromStr as _, time::Duration};

use async_nats::jetstream::{self, consumer::pull};
use events::{
    Meta, Recorded, Store,
    catalog::{NewSpecialty, Specialty, SpecialtyCommand},
    clock,
    execute::Call,
    store,
};
use futures_util::{StreamExt as _, future::join_all};
use nats::{
    Bus, Relay, message, readers, relay,
    server::{Config, DURABLES, User, Users},
    stream,
};
use service::{embedded::Nats, testkit};
use sqlx::postgres::PgConnectOptions;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Waits for what must come, and fails where it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("not within half a minute: {what}"))
}

pub struct World {
    pub store: Store,
    pub nats: Nats,
    pub users: Users,
    _writer: store::Writer,
    _readers: DropGuard,
    pub database: testkit::Database,
}

impl World {
    pub async fn new() -> Self {
        Self::with_room(1 << 30).await
    }

    /// Where so many bytes of events are too many for the server.
    pub async fn with_room(max_file_store: u64) -> Self {
        let users = Users {
            relay: "relay-pw".into(),
            worker: "worker-pw".into(),
            query: "query-pw".into(),
            reader: "reader-pw".into(),
        };
        let nats = testkit::nats(|addr, store_dir| {
            Config { addr, store_dir, max_file_store, users: &users, durables: DURABLES }.text()
        });
        let (database, nats) = tokio::join!(testkit::database(), nats);
        let connect = PgConnectOptions::from_str(&database.url).unwrap();
        let (store, writer) = Store::open(database.pool.clone(), connect, &store::Options::default());
        let bus = Bus::connect(&users.url(nats.addr(), User::Relay), "readers").await.unwrap();
        let soft = CancellationToken::new();
        tokio::spawn(readers::serve(bus, soft.clone()));
        Self { store, nats, users, _writer: writer, _readers: soft.drop_guard(), database }
    }

    pub fn url(&self, user: User) -> String {
        self.users.url(self.nats.addr(), user)
    }

    /// A connection that stands.
    pub async fn bus(&self, user: User) -> Bus {
        let bus = Bus::connect(&self.url(user), "test").await.unwrap();
        within("a connection", async {
            while bus.healthy().await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bus
    }

    /// A connection that knows nothing of ours.
    pub async fn client(&self, user: User) -> async_nats::Client {
        let prefix = match user {
            User::Relay => "_INBOX_relay",
            User::Worker => "_INBOX_worker",
            User::Query => "_INBOX_query",
            User::Reader => "_INBOX",
        };
        let password = match user {
            User::Relay => &self.users.relay,
            User::Worker => &self.users.worker,
            User::Query => &self.users.query,
            User::Reader => &self.users.reader,
        };
        async_nats::ConnectOptions::with_user_and_password(user.name().to_owned(), password.clone())
            .custom_inbox_prefix(prefix)
            .connect(self.nats.addr().to_string())
            .await
            .unwrap()
    }

    /// Appends `count` events, each of its own thing; returns the log's head.
    pub async fn write(&self, count: usize) -> i64 {
        self.write_of(count, 20).await
    }

    /// The same, with a payload of about `bytes`.
    pub async fn write_of(&self, count: usize, bytes: usize) -> i64 {
        for chunk in vec![(); count].chunks(256) {
            let appended = chunk.iter().map(|()| append(&self.store, bytes));
            for position in join_all(appended).await {
                assert!(position > 0);
            }
        }
        self.store.head().await.unwrap()
    }

    pub async fn relay(&self) -> Relaying {
        self.relay_with(options()).await
    }

    pub async fn relay_with(&self, options: relay::Options) -> Relaying {
        let relay = Relay::new(self.store.clone(), self.bus(User::Relay).await, options);
        let soft = CancellationToken::new();
        let status = relay.status();
        let task = tokio::spawn(relay.run(soft.clone()));
        Relaying { status, task, soft: soft.drop_guard() }
    }

    /// All that is in the stream of the ledger's epoch, as a reader gets it.
    pub async fn in_stream(&self) -> Vec<Recorded> {
        let jetstream = jetstream::new(self.client(User::Reader).await);
        let name = stream::name(self.store.epoch().await.unwrap());
        let stream = jetstream.get_stream(&name).await.unwrap();
        let count = stream.cached_info().state.messages;
        let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.unwrap();
        let messages = consumer.messages().await.unwrap().take(usize::try_from(count).unwrap());
        within(
            "all messages",
            messages
                .map(|message| {
                    let message = message.unwrap();
                    let sequence = message.info().unwrap().stream_sequence;
                    message::read_at(sequence, &message.subject, message.headers.as_ref().unwrap(), &message.payload)
                        .unwrap()
                })
                .collect(),
        )
        .await
    }

    /// All that is in the log.
    pub async fn in_log(&self) -> Vec<Recorded> {
        self.store.after(0, 1_000_000).await.unwrap()
    }

    /// The stream is the log, event for event.
    pub async fn assert_whole(&self) {
        let (log, stream) = (self.in_log().await, self.in_stream().await);
        assert_eq!(stream.len(), log.len());
        assert!(stream == log, "the stream has other events than the log");
    }
}

/// One event in the log, whatever it takes while the server is away.
pub async fn append(store: &Store, bytes: usize) -> i64 {
    let id = clock::id();
    let command =
        SpecialtyCommand::Create(NewSpecialty { name: id.to_string(), description: "d".repeat(bytes), icon_url: None });
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let meta =
        Meta { actor: Some(clock::id()), correlation_id: clock::id(), causation_id: Some(clock::id()), traceparent };
    let call = Call { fresh: true, ..Call::from(meta) };
    events::execute::<Specialty>(store, id, command, call).await.unwrap().position
}

/// As in service, but quicker to notice.
pub fn options() -> relay::Options {
    relay::Options {
        compare: Duration::from_millis(300),
        lease: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        poll: Duration::from_millis(50),
        ..relay::Options::default()
    }
}

/// A relay at work, until it is dropped.
pub struct Relaying {
    pub status: watch::Receiver<relay::Status>,
    pub task: JoinHandle<Result<(), nats::Error>>,
    pub soft: DropGuard,
}

impl Relaying {
    /// Waits until the stream goes to `head`.
    pub async fn reaches(&mut self, head: i64) {
        within("the relay at the head", self.status.wait_for(|s| s.leading && s.connected && s.relayed >= head))
            .await
            .unwrap();
    }

    /// Waits until the ledger's epoch is `epoch` and its stream goes to `head`.
    pub async fn begins(&mut self, world: &World, epoch: i32, head: i64) {
        within("the new epoch", async {
            while world.store.epoch().await.unwrap() < epoch {
                tokio::task::yield_now().await;
            }
            let jetstream = jetstream::new(world.client(User::Reader).await);
            loop {
                if let Ok(stream) = jetstream.get_stream(stream::name(epoch)).await
                    && i64::try_from(stream.cached_info().state.last_sequence) == Ok(head)
                {
                    break;
                }
            }
        })
        .await;
        assert_eq!(world.store.epoch().await.unwrap(), epoch);
    }

    /// Stops it in order.
    pub async fn stop(self) {
        drop(self.soft);
        within("the relay's end", self.task).await.unwrap().unwrap();
    }
}
