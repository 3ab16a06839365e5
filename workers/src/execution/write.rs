//! Writing what came of a call, for as long as it takes: an answer that was paid for is not thrown away because the database
//! is away.

use std::time::Duration;

use events::{
    Error, Meta,
    execution::{Command, Execution, Request},
    store::{Loaded, StoreError},
};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Executions, chain, outcome};

/// The pauses between tries to reach the log: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

impl Executions {
    /// Writes the outcome. A refusal means that the attempt was given up meanwhile: then an answer is kept as evidence.
    pub(super) async fn write(
        &self,
        id: Uuid,
        started: Loaded<Execution>,
        request: &Request,
        mut command: Command,
        meta: Meta,
        took: Duration,
    ) {
        let mut pauses = pauses();
        let mut known = Some(started);
        loop {
            let written = match known.take() {
                Some(known) => events::execute_on(&self.store, id, known, command.clone(), meta.clone()).await,
                None => match self.store.load::<Execution>(id).await {
                    Ok(known) => events::execute_on(&self.store, id, known, command.clone(), meta.clone()).await,
                    Err(error) => Err(error.into()),
                },
            };
            let error = match written {
                Ok((_, Loaded { aggregate, .. })) => {
                    let status = aggregate.status;
                    if status.is_ended() && !matches!(command, Command::Late { .. }) {
                        outcome::count_end(request, status.name());
                    }
                    let (status, code) = (status.name(), outcome::code(&command));
                    tracing::info!(status, code, seconds = took.as_secs_f64(), "what came of the call is recorded");
                    return;
                }
                Err(Error::Refused(refusal)) => {
                    let Some(late) = command.into_late() else {
                        tracing::info!(%refusal, "what came of the call is not recorded");
                        return;
                    };
                    tracing::warn!(%refusal, "the answer came too late, and is kept as evidence");
                    command = late;
                    continue;
                }
                Err(Error::Store(StoreError::Uncarriable { why, .. })) if outcome::has_text(&command) => {
                    command = outcome::too_large(command, &why);
                    continue;
                }
                Err(error) => error,
            };
            tracing::warn!(error = chain(&error), "what came of the call cannot be written yet");
            sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }
}

/// Each twice as long as the one before, up to the longest.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(PAUSES.0), |pause| Some((*pause * 2).min(PAUSES.1)))
}
