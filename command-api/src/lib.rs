//! The way in: every command of the HTTP API, one module a context, the relay that carries the log to the bus, the sealer
//! that signs its heads, and who looks after timers.
//!
//! Here are the forms of requests and answers, and who may ask; what is decided is up to `events`.

mod answer;
pub mod asyncapi;
mod blocking;
mod contexts;
mod dispatch;
mod documents;
mod entity;
mod envelope;
mod execution;
mod identity;
mod keys;
mod names;
mod ops;
mod password;
mod passwords;
mod permission;
mod probe;
mod process;
mod prompt;
mod prompts;
mod relay;
pub mod seal;
mod session;
pub mod timers;

use std::sync::Arc;

use events::Store;
use nats::Bus;
use poem::{EndpointExt as _, Route};
use poem_openapi::OpenApiService;
use service::{
    http::{Admission, Probe, Problem, merge},
    lifecycle::Lifecycle,
};
use sqlx::PgPool;

pub use process::{Args, PORT, run};
pub use relay::Relaying;
pub use seal::Sealing;
pub use timers::Timing;

use crate::{
    dispatch::{Dispatcher, within},
    documents::Documents,
    execution::{DeadLetters, Executions},
    identity::Identity,
    ops::Ops,
    password::PasswordChanges,
    prompt::Prompts,
    session::Sessions,
};

const DESCRIPTION: &str = "Commands. Each answers with the place of its last event in the log (`position`), from which on \
queries know of it (`?min_position=`). With an `Idempotency-Key`, unique per caller, method and path, a command may be \
sent again for 24 hours: it is done once, and the first answer is repeated with `Idempotent-Replayed: true`; the same key \
with another body is a 422. `If-Match: \"<version>\"` refuses a change of what has changed meanwhile with 412.";

/// What the role works with.
pub struct Parts {
    /// The log, read through a pool of this role's own.
    pub store: Store,
    /// The bus, under a name that may publish on `events.>`.
    pub bus: Bus,
    /// What the relay reads the log through, so that it and the commands do not wait for each other.
    pub relay: PgPool,
    /// How it relays.
    pub relaying: Relaying,
    /// How timers are looked after.
    pub timing: Timing,
    /// What the sealer reads and writes through: likewise.
    pub seal: PgPool,
    /// How it seals.
    pub sealing: Sealing,
    /// By which the database is asked for its health, when all other pools are exhausted.
    pub health: PgPool,
    /// The server's secret, for tokens.
    pub secret: Vec<u8>,
}

/// The role, to be put into its frame.
pub struct CommandApi {
    /// Its `OpenAPI` document.
    pub spec: String,
    /// Its endpoints, by their whole paths.
    pub routes: Route,
    /// Whether it can do its work.
    pub probe: Probe,
}

/// Starts the role: its endpoints, the relay, the sealer and the timers, which `lifecycle` supervises.
/// An error is a fault of the program: a schema of its own that cannot be.
pub fn api(parts: Parts, lifecycle: &Lifecycle) -> Result<CommandApi, Problem> {
    let Parts { store, bus, relay, relaying, timing, seal, sealing, health, secret } = parts;
    let sealed = seal::start(&store.through(seal), &bus, sealing, lifecycle);
    let unknown_timers = timers::start(store.through(relay.clone()), &timing, lifecycle);
    let relaying = relay::start(&store.through(relay), &bus, &relaying, lifecycle);
    let dispatcher = Arc::new(Dispatcher::new(store, &secret, lifecycle));
    let contexts = (
        Identity(Arc::clone(&dispatcher)),
        Sessions(Arc::clone(&dispatcher)),
        PasswordChanges(Arc::clone(&dispatcher)),
        Prompts(Arc::clone(&dispatcher)),
        Executions(Arc::clone(&dispatcher)),
        DeadLetters(Arc::clone(&dispatcher)),
        Ops(Arc::clone(&dispatcher)),
        Documents::default(),
    );
    let service = OpenApiService::new(contexts, "Daybook", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let operations = contexts::operations();
    let spec = merge(&[service.spec(), entity::document(&operations).to_string()]).map_err(Problem::internal)?;
    let routes = entity::routes(&dispatcher, operations, Route::new().nest("/", service))?;
    // Here each caller is looked up in the log: what it says of them holds for the very next command.
    let routes = Route::new().nest("/", routes.data(admission(dispatcher)));
    Ok(CommandApi { spec, routes, probe: probe::of(health, bus, relaying, sealed, unknown_timers) })
}

fn admission(dispatcher: Arc<Dispatcher>) -> Admission {
    Admission::new(move |caller| {
        let dispatcher = Arc::clone(&dispatcher);
        async move {
            within(dispatcher.admitted(&caller)).await?;
            Ok(caller)
        }
    })
}
