//! What the load, the subscribers and the supervisor wrote down while the system was being crashed: all that the auditor
//! holds the log, the bus, the read models and the answers against. Plain data, with no opinion.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::system::provider::Calls;

/// Where the auditor looks. Nothing of it goes through the proxy.
#[derive(Clone, Debug)]
pub struct Target {
    /// Base URL of a command API, without a slash at the end.
    pub command_url: String,
    /// Base URL of a query API, likewise.
    pub query_url: String,
    /// The name and the base URL of every process, as they must all be ready again.
    pub processes: Vec<(String, String)>,
    /// The database, as its owner.
    pub database_url: String,
    /// NATS as a reader, user and password in it.
    pub nats_url: String,
    /// The log files of all role processes, whole: every start of a process appends to its own.
    pub logs: Vec<PathBuf>,
    /// The folder of the whole system.
    pub folder: PathBuf,
    /// The file that signed heads are added to, outside of the database.
    pub heads: PathBuf,
}

/// Everything that was written down.
#[derive(Debug, Default)]
pub struct Record {
    /// The users that were registered for sure; the first is the admin.
    pub users: Vec<User>,
    /// Every command that was sent, in no particular order.
    pub sent: Vec<Sent>,
    /// Every answer of a query that concerns rows which not all may see.
    pub readings: Vec<Reading>,
    /// What each subscriber of the bus received, in the order in which it came.
    pub subscribers: Vec<Subscriber>,
    /// How often the ordered subscriber was given a later message than the next, and asked anew.
    pub holes: u64,
    /// What was seen of executions by server-sent events.
    pub watched: Vec<Watched>,
    /// What must never appear in an event, a message, a log line or a read model.
    pub secrets: Vec<Secret>,
    /// What was down or in trouble, and from when to when.
    pub outages: Vec<Outage>,
    /// How every request, of commands and queries, was answered.
    pub answers: Vec<Answer>,
    /// Resident memory by the name of the process.
    pub resident: BTreeMap<String, Resident>,
    /// Processes that ended although nobody killed them.
    pub exits: Vec<Exit>,
    /// What the provider would send a bill for, by the text of the last message.
    pub called: HashMap<String, Calls>,
}

/// Somebody who is registered.
#[derive(Clone, Debug)]
pub struct User {
    /// The id.
    pub id: Uuid,
    /// The address, unique to this run.
    pub email: String,
    /// Whether they see everybody's executions.
    pub is_admin: bool,
    /// A token that is good for half an hour from its login. The last that was given.
    pub token: String,
}

/// What a command was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `POST /auth/register`
    Register,
    /// `POST /specialties`
    CreateSpecialty,
    /// `POST /sub-specialties`
    CreateSubSpecialty,
    /// `POST /expert-prompts`
    CreatePrompt,
    /// `PATCH /expert-prompts/{id}`
    RevisePrompt,
    /// `POST /execute-prompt/{id}`
    Execute,
    /// `POST /executions/{id}/cancel`
    Cancel,
    /// `POST /executions/{id}/retry`
    Retry,
    /// `POST /executions/{id}/resolve`
    Resolve,
    /// `POST /executions/{id}/redrive`
    Redrive,
    /// `POST /projections/{name}/rebuild`
    Rebuild,
}

impl Kind {
    /// The kind of event that it appends, exactly one of it, where it is accepted. (A cancel of what is still queued
    /// appends `execution_cancelled` right after it, and its receipt names that one's version and position.)
    pub fn event(self) -> &'static str {
        match self {
            Self::Register => "user_registered",
            Self::CreateSpecialty => "specialty_created",
            Self::CreateSubSpecialty => "sub_specialty_created",
            Self::CreatePrompt => "prompt_created",
            Self::RevisePrompt => "prompt_revised",
            Self::Execute | Self::Retry | Self::Redrive => "execution_requested",
            Self::Cancel => "execution_cancel_requested",
            Self::Resolve => "execution_resolved",
            Self::Rebuild => "rebuild_requested",
        }
    }
}

/// One command as it was sent, and what came back.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Who sent it; nobody registers.
    pub user: Option<Uuid>,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, without the host.
    pub path: String,
    /// The thing in the path, where there is one: the prompt, or the execution that is cancelled or retried.
    pub about: Option<Uuid>,
    /// Its `Idempotency-Key`. Commands of the same user, method, path and key are one command;
    /// without a user, of the same address.
    pub key: Option<String>,
    /// What it was to do.
    pub kind: Kind,
    /// Text in its body that no other body has, found in `data` of the event that it appends (and in later ones: an echo,
    /// a retry, a revision of the same prompt). Repetitions with the same key and the same body share it. None where a
    /// body holds no text: retries.
    pub marker: Option<String>,
    /// The trace id of the `traceparent` that was sent, 32 hex digits, unique to this very request. It is in `meta` of the
    /// event that the request appended, and of what workers appended because of it (never of the same kind).
    pub trace: String,
    /// Whether it may be accepted at all. Else it must be refused whatever the state of things is: a body that is no good, a
    /// stale version, another's row.
    pub is_valid: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was sent.
    pub at: Instant,
}

/// What is known about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: its events are in the log.
    Accepted {
        /// The HTTP status.
        status: u16,
        /// The thing's id.
        id: Uuid,
        /// Its version after the command.
        version: i64,
        /// The place of the command's last event.
        position: i64,
        /// It was answered from an earlier command with the same key.
        replayed: bool,
    },
    /// 4xx: nothing of it is in the log.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
    },
    /// No answer, or a 5xx: it is in the log or it is not, as a whole and at most once.
    Unknown {
        /// Why nothing is known, for people.
        why: String,
    },
}

/// What a query answered about rows that not everybody may see.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Who asked.
    pub asker: Uuid,
    /// Who sees everybody's executions.
    pub is_admin: bool,
    /// What was asked, without the host.
    pub path: String,
    /// Whose private row was asked for, where it was one.
    pub owner: Option<Uuid>,
    /// The HTTP status.
    pub status: u16,
    /// Whose rows were in the answer (`user_id`); of prompts, private ones only.
    pub seen: Vec<Uuid>,
}

/// How somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// An ordered consumer from the first position, which goes on at the next one after a loss: no gap, no duplicate.
    Ordered,
    /// A plain subscription to the subjects, which may miss and repeat.
    Plain,
}

/// What one subscriber received.
#[derive(Debug)]
pub struct Subscriber {
    /// How it listens.
    pub listening: Listening,
    /// All of it, in order.
    pub heard: Vec<Heard>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The stream it came from, where it came from one.
    pub stream: Option<String>,
    /// Its sequence there.
    pub sequence: Option<u64>,
    /// `ce-position`
    pub position: u64,
    /// `ce-epoch`
    pub epoch: u64,
    /// `ce-id`
    pub event_id: Uuid,
    /// The subject.
    pub subject: String,
}

/// What somebody saw of one execution by server-sent events, over all connections.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The execution.
    pub execution: Uuid,
    /// The ids of the messages, which are positions, in the order in which they came.
    pub positions: Vec<i64>,
    /// How many connections that took.
    pub connections: u32,
    /// The end was seen: nothing follows the last.
    pub is_over: bool,
}

/// A text that must not get out.
#[derive(Clone, Debug)]
pub struct Secret {
    /// What it is, for people; the text itself is never printed.
    pub what: &'static str,
    /// The text.
    pub text: String,
}

/// What can be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// PostgreSQL, or the way to it.
    Postgres,
    /// nats-server, or the way to it.
    Nats,
    /// A process: connections to it are refused or cut.
    Process,
    /// A process that was stopped: requests to it hang.
    Frozen,
    /// The LLM provider.
    Provider,
}

/// Something was down.
#[derive(Clone, Debug)]
pub struct Outage {
    /// What.
    pub part: Part,
    /// Which fault did it.
    pub fault: String,
    /// The process it was done to, where it was one.
    pub process: Option<String>,
    /// Connections stayed open and nothing came: for as long as that lasts nobody can tell it from slowness.
    pub silent: bool,
    /// From when.
    pub from: Instant,
    /// To when: the part itself ran again. Who uses it may need a moment more to find out.
    pub to: Instant,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that was seen")]
pub struct Answer {
    /// A command; else a query.
    pub command: bool,
    /// Which process was asked, an index in the order of its role's processes.
    pub process: usize,
    /// When it was sent.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// How long it may take because it asked to wait: `Prefer: wait`, `min_position`, a key in flight.
    pub patience: Duration,
    /// The HTTP status; none where the connection was refused, cut, given up after the client's timeout, or hung up on.
    pub status: Option<u16>,
    /// The client gave up: its timeout, or it hung up on purpose.
    pub given_up: bool,
    /// The answer named `Retry-After`.
    pub retry_after: bool,
    /// An error was problem+json with the status in it; true of what is no error.
    pub well_formed: bool,
}

/// The memory of one process, over all its lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// The most that was seen, in bytes.
    pub most: u64,
    /// The last that was seen, in bytes.
    pub last: u64,
    /// How often it was looked at.
    pub samples: u64,
}

/// A process that ended by itself.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Its name.
    pub process: String,
    /// How, as the system says it.
    pub status: String,
    /// When that was seen.
    pub at: Instant,
}
