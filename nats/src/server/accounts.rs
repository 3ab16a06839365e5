//! The accounts of the server: what each user may publish and hear, and what crosses from one account to another.
//!
//! The stream is in the relay's account. All others reach it by imports, each for exactly the subjects that it needs. An
//! import does two things that permissions do not: the server answers under a reply subject of its own, which leads back into
//! the account of who asked, whatever reply subject was named; and an answer that arrives there is taken for no request.
//! Requests by which a reader would make or delete consumers go to [`crate::readers`] and not to JetStream.

use std::{fmt::Write as _, io, path::Path};

use super::{Config, User, quoted};
use crate::{readers, subject};

const READ: &[&str] = &["INFO", "STREAM.INFO.*", "STREAM.NAMES", "STREAM.LIST", "STREAM.MSG.GET.*", "DIRECT.GET.>"];
/// Not the short form `CONSUMER.CREATE.*`, in which only the body says which consumer is meant.
const MAKE: &[&str] = &["CONSUMER.CREATE.*.*", "CONSUMER.CREATE.*.*.>", "CONSUMER.DURABLE.CREATE.*.*"];
const DELETE: &[&str] = &["CONSUMER.DELETE.*.*"];
const INFO: &[&str] = &["CONSUMER.INFO.*.*"];
const NEXT: &[&str] = &["CONSUMER.MSG.NEXT.*.*"];
/// What tells the names of consumers: who knows one may take its messages.
const LIST: &[&str] = &["CONSUMER.NAMES.*", "CONSUMER.LIST.*"];
const MANAGE: &[&str] = &["STREAM.CREATE.*", "STREAM.UPDATE.*", "STREAM.DELETE.*"];
/// The short form as well: older clients make their consumers by it.
const ASKED: &[&str] = &["CONSUMER.CREATE.*"];
const ACK: &str = "$JS.ACK.>";
const FLOW: &str = "$JS.FC.>";
/// The subject under which the server hands on the answer to a request from another account.
const ANSWERS: &str = "_R_.>";
const OPS: &str = "ops.>";
const LIVE: &str = "live.>";
const SO_FAR: &str = "live.*.*.*.so_far";
/// All of JetStream that queries need: whether it answers.
const HEALTH: &[&str] = &["INFO"];
/// Where an answer goes that was to go where others tell what happens. Nobody may listen there.
const NOWHERE: &str = "nowhere";
/// Where a reader's consumers may push.
const PUSHED: &str = "_INBOX.>";

impl User {
    /// Its account.
    const fn account(self) -> &'static str {
        match self {
            Self::Relay => "DAYBOOK",
            Self::Worker => "WORKERS",
            Self::Query => "QUERIES",
            Self::Reader => "READERS",
        }
    }
}

/// Moves what a server without accounts has stored below `store_dir` to where the relay's account has it. Only while no server
/// runs on it.
pub fn move_streams(store_dir: &Path) -> io::Result<()> {
    let accounts = store_dir.join("jetstream");
    let (from, to) = (accounts.join("$G"), accounts.join(User::Relay.account()));
    if from.exists() && !to.exists() { std::fs::rename(from, to) } else { Ok(()) }
}

/// All accounts, as they stand in the configuration.
pub(super) fn all(config: &Config<'_>) -> String {
    let mut text = String::new();
    for user in User::ALL {
        let Permissions { publish, deny, subscribe } = permissions(user, config.durables);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  {account}: {{\n{jetstream}    users: [{{ user: {name}, password: {password}, permissions: {{\n      \
             publish: {{ allow: {publish}, deny: {deny} }}\n      subscribe: {{ allow: {subscribe} }}\n    }} }}]\n    \
             exports: [\n{exports}    ]\n    imports: [\n{imports}    ]\n    mappings: {{\n{mappings}    }}\n  }}\n",
            account = user.account(),
            jetstream = if user == User::Relay { "    jetstream: enabled\n" } else { "" },
            name = quoted(user.name()),
            password = quoted(config.users.password(user)),
            publish = list(&publish),
            deny = list(&deny),
            subscribe = list(&subscribe),
            exports = lines(exports(user)),
            imports = lines(imports(user)),
            mappings = lines(mappings(user)),
        );
    }
    text
}

struct Permissions {
    publish: Vec<String>,
    deny: Vec<String>,
    subscribe: Vec<String>,
}

fn permissions(user: User, durables: &[&str]) -> Permissions {
    let more = |mut subjects: Vec<String>, plain: &[&str]| {
        subjects.extend(plain.iter().map(|s| (*s).to_owned()));
        subjects
    };
    let publish = match user {
        User::Relay => more(api(&[READ, MAKE, DELETE, INFO, NEXT, LIST, MANAGE]), &["events.>", OPS, ACK, ANSWERS]),
        User::Worker => more(api(&[READ, MAKE, DELETE, INFO, NEXT]), &[OPS, LIVE, ACK, ANSWERS]),
        // No consumer: whoever makes one says where the server pushes, which may be where it is asked for jobs.
        User::Query => more(api(&[HEALTH]), &[SO_FAR]),
        User::Reader => more(api(&[READ, ASKED, MAKE, DELETE, INFO, NEXT]), &[ACK, FLOW]),
    };
    let deny = match user {
        User::Relay | User::Query => Vec::new(),
        User::Worker => vec!["events.>".to_owned()],
        User::Reader => durables.iter().flat_map(|durable| untouchable(durable)).collect(),
    };
    let inbox = format!("{}.>", user.inbox());
    let heard: &[&str] = match user {
        User::Relay => &[subject::ALL, readers::REQUESTS],
        User::Query => &[OPS, LIVE],
        User::Worker | User::Reader => &[subject::ALL, OPS, LIVE],
    };
    Permissions { publish, deny, subscribe: more(vec![inbox], heard) }
}

/// Every subject by which somebody could change the consumer `durable`, take its messages or answer for it.
fn untouchable(durable: &str) -> Vec<String> {
    let verbs = ["CREATE.*.{}", "CREATE.*.{}.>", "DURABLE.CREATE.*.{}", "DELETE.*.{}", "MSG.NEXT.*.{}"];
    let mut subjects: Vec<String> =
        verbs.iter().map(|verb| format!("$JS.API.CONSUMER.{}", verb.replace("{}", durable))).collect();
    // The subject of an acknowledgement has the stream and the consumer first, or a domain and an account before them.
    subjects.push(format!("$JS.ACK.*.{durable}.>"));
    subjects.push(format!("$JS.ACK.*.*.*.{durable}.>"));
    subjects
}

/// What others may import of `user`'s account.
fn exports(user: User) -> Vec<String> {
    let stream = |subject: &str| format!("{{ stream: {} }}", quoted(subject));
    let service = |subject: &str, to: &[User]| {
        let to: Vec<&str> = to.iter().map(|user| user.account()).collect();
        format!("{{ service: {}, accounts: [{}] }}", quoted(subject), to.join(", "))
    };
    let all = [User::Worker, User::Query, User::Reader];
    match user {
        User::Relay => {
            let mut exports = vec![stream(subject::ALL), stream(subject::HEAD)];
            let pushed = format!("{{ stream: {}, accounts: [{}] }}", quoted(PUSHED), User::Reader.account());
            exports.push(pushed);
            exports.extend(api(&[READ, INFO]).iter().map(|subject| service(subject, &all)));
            exports.extend(api(&[MAKE, DELETE]).iter().map(|subject| service(subject, &[User::Worker])));
            exports.extend(asked().map(|verb| service(&readers::request(verb), &[User::Reader])));
            // One request has many answers, for as long as it asks for.
            exports.extend(api(&[NEXT]).iter().map(|subject| {
                format!("{{ service: {}, response_type: stream, response_threshold: \"1h\" }}", quoted(subject))
            }));
            exports.extend([ACK, FLOW].map(|subject| service(subject, &all)));
            exports
        }
        User::Worker => vec![stream(OPS), stream(LIVE), service(SO_FAR, &[User::Query])],
        User::Query | User::Reader => Vec::new(),
    }
}

/// What `user`'s account imports.
fn imports(user: User) -> Vec<String> {
    let from = |kind: &str, of: User, subject: &str| {
        format!("{{ {kind}: {{ account: {}, subject: {} }} }}", of.account(), quoted(subject))
    };
    let stream = |of: User, subject: &str| from("stream", of, subject);
    let service = |of: User, subject: &str| from("service", of, subject);
    if user == User::Relay {
        return Vec::new();
    }
    if user == User::Query {
        let mut imports = [OPS, LIVE].map(|subject| stream(User::Worker, subject)).to_vec();
        imports.push(service(User::Worker, SO_FAR));
        imports.extend(api(&[HEALTH]).iter().map(|subject| service(User::Relay, subject)));
        return imports;
    }
    let mut imports = vec![stream(User::Relay, subject::ALL), stream(User::Relay, subject::HEAD)];
    imports.extend(api(&[READ, INFO, NEXT]).iter().map(|subject| service(User::Relay, subject)));
    imports.extend([ACK, FLOW].map(|subject| service(User::Relay, subject)));
    if user == User::Reader {
        imports.extend([OPS, LIVE].map(|subject| stream(User::Worker, subject)));
        imports.push(stream(User::Relay, PUSHED));
        imports.extend(asked().map(|verb| {
            let (account, subject, to) = (User::Relay.account(), readers::request(verb), format!("$JS.API.{verb}"));
            format!("{{ service: {{ account: {account}, subject: {} }}, to: {} }}", quoted(&subject), quoted(&to))
        }));
    } else {
        imports.extend(api(&[MAKE, DELETE]).iter().map(|subject| service(User::Relay, subject)));
    }
    imports
}

/// Which subjects become others in `user`'s account: those of what it publishes and of where answers to it are to arrive, not
/// those of what is imported. So that no answer is taken for what others tell, by those who have the same password.
fn mappings(user: User) -> Vec<String> {
    let told: &[&str] = match user {
        User::Relay | User::Query => &[],
        User::Worker => &[subject::ALL],
        User::Reader => &[subject::ALL, OPS, LIVE],
    };
    told.iter().map(|told| format!("{}: {}", quoted(told), quoted(&format!("{NOWHERE}.{told}")))).collect()
}

/// The requests of readers that are not JetStream's to answer.
fn asked() -> impl Iterator<Item = &'static str> {
    [ASKED, MAKE, DELETE].into_iter().flatten().copied()
}

fn api(verbs: &[&[&str]]) -> Vec<String> {
    verbs.concat().iter().map(|verb| format!("$JS.API.{verb}")).collect()
}

fn list(subjects: &[String]) -> String {
    let quoted: Vec<String> = subjects.iter().map(|subject| quoted(subject)).collect();
    format!("[{}]", quoted.join(", "))
}

fn lines(entries: Vec<String>) -> String {
    entries.into_iter().fold(String::new(), |text, entry| text + "      " + &entry + "\n")
}
