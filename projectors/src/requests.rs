//! Rebuilds that somebody has asked for: an event of the stream `ops` asks, and one answers when it is done.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use events::{
    Meta, Recorded, execute,
    ops::{self, Command, projection_id},
};
use nats::{Bus, feed::Feed};
use serde_json::json;
use tokio::time::{Instant, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    rebuild::{self, Error, Generation, Options, Progress, Workshop},
    verify,
};

/// After an error, and while somebody else rebuilds it.
const PAUSE: Duration = Duration::from_secs(2);
/// How often what was not said is looked for, where no event comes.
const LOOK: Duration = Duration::from_secs(30);
/// How often progress is told.
const EVERY: Duration = Duration::from_secs(1);
/// How many events are passed over at a time.
const BATCH: usize = 10_000;

/// Does what is asked for, one after the other, until `soft`.
pub(crate) async fn run(workshop: Workshop, feed: Feed, soft: CancellationToken) -> Result<(), Infallible> {
    let working = async {
        loop {
            if let Err(error) = follow(&workshop, &feed, &soft).await {
                tracing::warn!(%error, "requests to rebuild projections are looked for again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = soft.cancelled() => Ok(()),
        never = working => never,
    }
}

/// Looks at once, and whenever there is something new in the stream `ops`, whose history is read once.
async fn follow(workshop: &Workshop, feed: &Feed, soft: &CancellationToken) -> Result<(), Error> {
    let head = workshop.store.head().await?;
    let mut reader = feed.reader(head);
    let mut asked = Asked::read(workshop, head).await?;
    loop {
        let is_left = look(workshop, &mut asked, soft).await?;
        // What others have to say, and could not, is not in the log.
        let until = Instant::now() + if is_left { PAUSE } else { LOOK };
        while let Ok(events) = timeout_at(until, reader.next(BATCH)).await {
            let Ok(events) = events else {
                // A feed that has ended ends the process.
                tokio::time::sleep(PAUSE).await;
                return Ok(());
            };
            let mut is_new = false;
            for event in events.iter().filter(|event| event.stream == "ops") {
                asked.take(event)?;
                is_new = true;
            }
            if is_new {
                break;
            }
        }
    }
}

/// The events that ask for a rebuild and were not answered, by the id of the projection.
#[derive(Default)]
struct Asked(HashMap<Uuid, Recorded>);

impl Asked {
    /// Those of the log up to a position.
    async fn read(workshop: &Workshop, until: i64) -> Result<Self, Error> {
        let mut asked = Self::default();
        for projection in crate::ALL {
            for event in workshop.store.stream("ops", projection_id(projection.name)).await? {
                if event.position <= until {
                    asked.take(&event)?;
                }
            }
        }
        Ok(asked)
    }

    fn take(&mut self, event: &Recorded) -> Result<(), Error> {
        match event.decode()? {
            ops::Event::RebuildRequested { .. } => {
                self.0.insert(event.id, event.clone());
            }
            ops::Event::ProjectionSwitched { .. }
            | ops::Event::RebuildStopped { .. }
            | ops::Event::RebuildFailed { .. } => {
                self.0.remove(&event.id);
            }
            ops::Event::ProjectionMismatchFound { .. } | ops::Event::ProjectionRowRepaired { .. } => {}
        }
        Ok(())
    }
}

/// Does all that is asked for now; whether something is left, because another process is at it.
async fn look(workshop: &Workshop, asked: &mut Asked, soft: &CancellationToken) -> Result<bool, Error> {
    rebuild::say(workshop).await?;
    verify::say(workshop).await?;
    for projection in crate::ALL {
        let (name, id) = (projection.name, projection_id(projection.name));
        let Some(request) = asked.0.get(&id) else { continue };
        tracing::info!(projection = name, position = request.position, "it is made anew, as was asked for");
        let options = Options { actor: request.meta.actor, asked: Some(request.position), ..Options::default() };
        match rebuild::run(projection, workshop, &options, &Progress::default(), soft).await {
            Ok(_) | Err(Error::Answered { .. }) => {}
            Err(Error::Running { .. } | Error::Lost { .. } | Error::Interrupted { .. }) => continue,
            Err(error @ (Error::Database(_) | Error::Log(_) | Error::Unsaid(_))) => return Err(error),
            Err(Error::Projection(error)) if error.passes() => return Err(error.into()),
            Err(error) => {
                tracing::error!(projection = name, %error, "it could not be made anew");
                fail(workshop, name, request, error.to_string()).await?;
            }
        }
        rebuild::say(workshop).await?;
        // Its answer is in the log, or will be by whoever has decided.
        asked.0.remove(&id);
    }
    Ok(!asked.0.is_empty())
}

async fn fail(workshop: &Workshop, name: &str, asked: &Recorded, reason: String) -> Result<(), Error> {
    let id: Uuid = projection_id(name);
    let command = Command::Fail { projection: name.to_owned(), reason };
    let failed = execute::<ops::Projection>(&workshop.store, id, command, Meta::following(asked)).await;
    failed.map(drop).map_err(|error| Error::Unsaid(error.to_string()))
}

/// Tells on the bus how far rebuilds are, whoever does them, until `soft`.
pub(crate) async fn tell(workshop: Workshop, bus: Bus, soft: CancellationToken) -> Result<(), Infallible> {
    let mut every = interval(EVERY);
    loop {
        tokio::select! {
            () = soft.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        // Where the database is away there is nothing to tell.
        let all = Generation::all(&workshop.pool).await.unwrap_or_default();
        for one in all.iter().filter(|one| one.is_held) {
            let Generation { projection, number, version, phase, done, target, .. } = one;
            let told = json!({
                "projection": projection, "generation": number, "version": version,
                "phase": phase, "done": done, "target": target,
            });
            bus.publish_rebuild(projection, told.to_string()).await;
        }
    }
}
