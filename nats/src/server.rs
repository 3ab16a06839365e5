//! What nats-server is configured to: where it keeps its streams, and who may do what on it.
//!
//! Four users: the relay, which alone publishes events; workers, which take jobs and tell of themselves; queries, which ask
//! workers for texts in the making; readers, which see everything that is on the bus and change nothing. Each has inboxes of
//! its own, so that nobody reads another's answers.
//!
//! JetStream answers to whatever reply subject a request names, past the permissions of who asked. So each user has an account
//! of its own (`accounts`): the answer comes back into the account of who asked, and is nothing to JetStream there.

mod accounts;

use std::{net::SocketAddr, path::Path};

pub use accounts::move_streams;

/// The durable consumers that readers and queries must not touch: every [`crate::Jobs`] has its name here.
pub const DURABLES: &[&str] = &["executions"];

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Brings the log into the stream; the only one that publishes on `events.>`.
    Relay,
    /// Takes jobs, and publishes on `ops.>` and `live.>`.
    Worker,
    /// Reads everything, and asks workers for texts in the making.
    Query,
    /// Reads everything and publishes nothing.
    Reader,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Relay, Self::Worker, Self::Query, Self::Reader];

    /// Its name on the server.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Worker => "worker",
            Self::Query => "query",
            Self::Reader => "reader",
        }
    }

    /// Where the answers to its requests go. Readers are programs of other people, so theirs is the usual prefix.
    const fn inbox(self) -> &'static str {
        match self {
            Self::Relay => "_INBOX_relay",
            Self::Worker => "_INBOX_worker",
            Self::Query => "_INBOX_query",
            Self::Reader => "_INBOX",
        }
    }
}

/// The inbox prefix of the user called `name`, if it is one of ours.
pub(crate) fn inbox(name: &str) -> Option<&'static str> {
    User::ALL.into_iter().find(|user| user.name() == name).map(User::inbox)
}

/// The users' passwords: ASCII letters, digits, `-` and `_`, so that they stand in a URL and in the configuration as they are.
#[derive(Clone)]
pub struct Users {
    /// The relay's.
    pub relay: String,
    /// The workers'.
    pub worker: String,
    /// The query APIs'.
    pub query: String,
    /// The readers'.
    pub reader: String,
}

impl Users {
    /// The URL by which `user` connects to the server at `addr`.
    pub fn url(&self, addr: SocketAddr, user: User) -> String {
        format!("nats://{}:{}@{addr}", user.name(), self.password(user))
    }

    fn password(&self, user: User) -> &str {
        match user {
            User::Relay => &self.relay,
            User::Worker => &self.worker,
            User::Query => &self.query,
            User::Reader => &self.reader,
        }
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Users(…)")
    }
}

/// A nats-server of one machine.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it keeps its streams; the default would be a temporary folder.
    pub store_dir: &'a Path,
    /// The most that all streams may take on disk, in bytes.
    pub max_file_store: u64,
    /// The passwords.
    pub users: &'a Users,
    /// The durable consumers that readers must not touch, usually [`DURABLES`].
    pub durables: &'a [&'a str],
}

impl Config<'_> {
    /// The configuration file's text.
    pub fn text(&self) -> String {
        format!(
            "# Written at every start.\n\
             listen: {addr}\n\
             server_name: daybook\n\
             max_payload: 1MB\n\
             max_pending: 64MB\n\
             ping_interval: \"10s\"\n\
             lame_duck_grace_period: \"1s\"\n\
             lame_duck_duration: \"30s\"\n\
             jetstream {{\n  store_dir: {store}\n  max_memory_store: 256MB\n  max_file_store: {max}\n  sync_interval: \"5s\"\n}}\n\
             authorization {{\n  timeout: 5\n}}\n\
             accounts {{\n{accounts}}}\n",
            addr = quoted(&self.addr.to_string()),
            store = quoted(&self.store_dir.to_string_lossy()),
            max = self.max_file_store,
            accounts = accounts::all(self),
        )
    }
}

/// Text as a value of the configuration: in quotes, in which only these two need an escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
