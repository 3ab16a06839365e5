//! Rebuilds that somebody has asked for: an event of the stream `ops` asks, and one answers when it is done.

use std::{convert::Infallible, time::Duration};

use events::{
    Meta, Recorded, execute,
    ops::{self, Command, projection_id},
};
use nats::{Bus, feed::Feed};
use serde_json::json;
use tokio::time::{interval, timeout};
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

/// Looks at once, and whenever there is something new in the stream `ops`.
async fn follow(workshop: &Workshop, feed: &Feed, soft: &CancellationToken) -> Result<(), Error> {
    let mut reader = feed.reader(workshop.store.head().await?);
    loop {
        while look(workshop, soft).await? {
            tokio::time::sleep(PAUSE).await;
        }
        // What others have to say, and could not, is not in the log.
        let _ = timeout(LOOK, async {
            while let Ok(events) = reader.next(BATCH).await {
                if events.iter().any(|event| event.stream == "ops") {
                    return;
                }
            }
            // A feed that has ended ends the process.
            tokio::time::sleep(LOOK).await;
        })
        .await;
    }
}

/// Does all that is asked for now; whether something is left, because another process is at it.
async fn look(workshop: &Workshop, soft: &CancellationToken) -> Result<bool, Error> {
    rebuild::say(workshop).await?;
    verify::say(workshop).await?;
    let mut left = false;
    for projection in crate::ALL {
        let name = projection.name;
        let Some(asked) = request(workshop, name).await? else { continue };
        tracing::info!(projection = name, position = asked.position, "it is made anew, as was asked for");
        let options = Options { actor: asked.meta.actor, asked: Some(asked.position), ..Options::default() };
        match rebuild::run(projection, workshop, &options, &Progress::default(), soft).await {
            Ok(_) | Err(Error::Answered { .. }) => {}
            Err(Error::Running { .. } | Error::Lost { .. } | Error::Interrupted { .. }) => left = true,
            Err(error @ (Error::Database(_) | Error::Log(_) | Error::Unsaid(_))) => return Err(error),
            Err(Error::Projection(error)) if error.passes() => return Err(error.into()),
            Err(error) => {
                tracing::error!(projection = name, %error, "it could not be made anew");
                fail(workshop, name, &asked, error.to_string()).await?;
            }
        }
        rebuild::say(workshop).await?;
    }
    Ok(left)
}

/// The event that asks for `name`, if it was not answered.
async fn request(workshop: &Workshop, name: &str) -> Result<Option<Recorded>, Error> {
    let mut asked = None;
    for event in workshop.store.stream("ops", projection_id(name)).await? {
        match event.decode()? {
            ops::Event::RebuildRequested { .. } => asked = Some(event),
            ops::Event::ProjectionSwitched { .. }
            | ops::Event::RebuildStopped { .. }
            | ops::Event::RebuildFailed { .. } => asked = None,
            ops::Event::ProjectionMismatchFound { .. } | ops::Event::ProjectionRowRepaired { .. } => {}
        }
    }
    Ok(asked)
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
