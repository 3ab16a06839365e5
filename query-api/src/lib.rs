//! The way out: every query of the HTTP API, one module a context.
//!
//! A row is what is answered: its type is the response's type, and its SQL stands beside it. Nothing here decides or writes.
//! Who waits for what is not there yet waits in [`waiters`].

mod admission;
mod as_of;
mod company;
mod contexts;
mod deadline;
mod events;
mod execution;
mod identity;
mod log;
mod membership;
mod ops;
mod probe;
mod process;
mod prompt;
mod reading;
mod resource;
mod session;
mod sse;
mod time;
pub mod waiters;

use ::events::Store;
use nats::Bus;
use poem::{EndpointExt as _, Route};
use poem_openapi::{OpenApiService, Tags};
use service::{
    http::{Probe, merge},
    lifecycle::Lifecycle,
};
use sqlx::PgPool;

pub use execution::Streaming;
pub use process::{Args, PORT, run};

use crate::{
    company::Companies,
    events::{Events, Tail},
    execution::Executions,
    identity::Identity,
    log::Log,
    ops::Ops,
    prompt::Prompts,
    reading::Reading,
    session::Sessions,
    waiters::Waiters,
};

const DESCRIPTION: &str = "Queries. Each answer says how far the read model has come that gave it (`Daybook-Position`), and \
has an `ETag` for `If-None-Match`. `?min_position=` waits until the read model has come that far, at most 5 seconds, then \
503 with `Retry-After`. Lists are newest first, in pages; they stay as they are while things are added.";

#[derive(Tags)]
enum Context {
    /// Who the users are.
    Identity,
    /// Companies, and what their members may.
    Company,
    /// Expert prompts.
    Prompt,
    /// Runs of prompts.
    Execution,
    /// The log itself, its events, and its seal.
    Log,
    /// The system itself.
    Ops,
}

/// What the role works with.
pub struct Parts {
    /// The log, read through a pool of this role's own.
    pub store: Store,
    /// The bus, on which the projectors tell how far they are.
    pub bus: Bus,
    /// Connections to the read models: [`service::db::Kind::Reads`].
    pub pool: PgPool,
    /// How texts are streamed.
    pub streaming: Streaming,
}

/// The role, to be put into its frame.
pub struct QueryApi {
    /// Its `OpenAPI` document.
    pub spec: String,
    /// Its endpoints, by their whole paths.
    pub routes: Route,
    /// Whether it can do its work.
    pub probe: Probe,
}

/// Starts the role: its endpoints, and the tasks that wake those who wait and those who listen, which `lifecycle` supervises.
pub fn api(parts: Parts, lifecycle: &Lifecycle) -> QueryApi {
    let Parts { store, bus, pool, streaming } = parts;
    let waiters = Waiters::new(pool.clone(), lifecycle.soft());
    lifecycle.spawn("waiting room of queries", waiters.clone().run(bus.clone()));
    let tail = Tail::new(store.clone(), lifecycle.soft());
    lifecycle.spawn("tail of the log", tail.clone().run());
    let probe = probe::of(pool.clone(), bus.clone());
    let reading = Reading { pool, store, waiters, heavy: reading::heavy(), tail };
    let contexts = (
        Identity(reading.clone()),
        Companies(reading.clone()),
        Sessions(reading.clone()),
        Prompts(reading.clone()),
        Log(reading.clone()),
        Events(reading.clone()),
        Executions::new(reading.clone(), bus, &streaming),
        Ops(reading.clone()),
    );
    let service = OpenApiService::new(contexts, "Daybook", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let spec = merge(&[service.spec(), resource::document().to_string()]).unwrap_or_else(|_| service.spec());
    let routes = resource::routes(&reading, Route::new().nest("/", service));
    let admission = admission::admission(admission::open_sessions(reading.store.clone()));
    let routes = routes.around(deadline::keep).around(move |endpoint, request| {
        let admission = admission.clone();
        async move { admission::keep(admission, endpoint, request).await }
    });
    let routes = Route::new().nest("/", routes);
    QueryApi { spec, routes, probe }
}
