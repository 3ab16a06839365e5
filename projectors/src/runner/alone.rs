//! A projection that goes on by itself until it stands where the group does.

use std::{sync::Arc, time::Duration};

use events::Recorded;
use nats::feed::Reader;
use service::db::{self, Kind};
use tokio::time::timeout;

use super::{BATCH, Member, Shared, group::is_near, portion};
use crate::{
    board::State,
    checkpoint::{Outcome, Target},
    projection::{Error, Projection},
    rebuild::{self, Generation, Progress, Workshop},
};

/// How long a second projector waits before it looks whether the first still works.
const SECOND: Duration = Duration::from_secs(1);
/// How often one that has stopped looks whether it can go on.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a version that would park too much was made it is made again.
const AGAIN: Duration = Duration::from_mins(1);
/// The shortest and the longest pause after an error.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The projection.
pub(super) struct Alone {
    member: Member,
    shared: Shared,
    reader: Option<Reader>,
}

/// What one turn has come to.
enum Turn {
    /// A batch is applied, or is not, because another projector of this name is at work.
    Done(Outcome),
    /// It stands where the group does.
    Level,
    /// The process stops.
    Over,
}

impl Alone {
    pub(super) fn new(member: Member, shared: Shared) -> Self {
        Self { member, shared, reader: None }
    }

    /// Goes on after what it has `met` last, until it can join the group, or the process stops.
    pub(super) async fn run(mut self, mut met: Option<Result<Outcome, Error>>) {
        let mut pause = PAUSES.0;
        loop {
            let turn = match met.take() {
                Some(met) => met.map(Turn::Done),
                None => self.turn().await,
            };
            let wait = match turn {
                Ok(Turn::Over) => return,
                Ok(Turn::Level) => {
                    // It is gone only when the process stops.
                    let _ = self.shared.joins.send(self.member);
                    return;
                }
                Ok(Turn::Done(Outcome::Applied(_))) => {
                    pause = PAUSES.0;
                    continue;
                }
                Ok(Turn::Done(Outcome::Superseded)) => SECOND,
                Err(Error::OtherVersion { found, .. }) if found < self.member.projection.version => {
                    self.renew(found).await
                }
                Err(error) => self.failed(&error, &mut pause),
            };
            (self.member.place, self.reader) = (None, None);
            if timeout(wait, self.shared.soft.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Tells of an error; how long to wait before the next try.
    fn failed(&self, error: &Error, pause: &mut Duration) -> Duration {
        let name = self.member.projection.name;
        if error.passes() {
            tracing::warn!(projection = name, %error, "the projection tries again");
            self.shared.board.set(name, State::Retrying);
            let now = *pause;
            *pause = (now * 2).min(PAUSES.1);
            return now;
        }
        let state = match error {
            Error::OtherVersion { .. } => State::Outdated,
            _ => State::Stopped,
        };
        if self.shared.board.set(name, state) {
            tracing::error!(projection = name, %error, "the projection has stopped");
        }
        // Somebody may make its rows anew.
        LOOK
    }

    /// Waits for events and applies what there is; what has begun to be applied is finished even when the process stops.
    async fn turn(&mut self) -> Result<Turn, Error> {
        let soft = self.shared.soft.clone();
        let batch = tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(Turn::Over),
            batch = self.read() => batch?,
        };
        let Some(batch) = batch else { return Ok(Turn::Level) };
        let mut batch = batch.as_slice();
        let mut last = Outcome::Superseded;
        while !batch.is_empty() {
            let (now, later) = batch.split_at(portion(batch));
            if let Some(target) = Target::of(now) {
                let own = self.member.own(now);
                last = self.member.apply(&self.shared, &own, target).await?;
                if last == Outcome::Superseded {
                    break;
                }
            }
            batch = later;
        }
        Ok(Turn::Done(last))
    }

    /// The next events; none where the group is near. One that was too slow for it has to catch up with it.
    async fn read(&mut self) -> Result<Option<Vec<Arc<Recorded>>>, Error> {
        let place = self.member.open(&self.shared).await?;
        let seen = place.seen.place.position;
        let is_level = |stands| is_near(seen, stands) && (seen >= stands || !self.member.is_slow);
        if self.shared.group.borrow().is_none_or(is_level) {
            return Ok(None);
        }
        let reader = self.reader.get_or_insert_with(|| self.shared.feed.reader(seen));
        Ok(Some(reader.next(BATCH).await?))
    }

    /// Makes the rows anew that an older version has left, which serve meanwhile. Returns how long to wait then.
    async fn renew(&self, found: i32) -> Duration {
        let Shared { pool, store, board, soft, .. } = &self.shared;
        let projection = self.member.projection;
        let Projection { name, version, .. } = *projection;
        match Generation::previous(pool, name).await {
            Ok(Some(kept)) if kept.version == version => {
                if board.set(name, State::Stopped) {
                    tracing::error!(name, version, found, "this version was rolled back: rebuild it to try it again");
                }
                return LOOK;
            }
            _ => {}
        }
        let workshop = Workshop::new(store, db::beside(pool, Kind::Rebuild));
        board.set(name, State::Renewing);
        tracing::info!(projection = name, from = found, to = version, "the projection is made anew");
        match rebuild::run(projection, &workshop, &rebuild::Options::default(), &Progress::default(), soft).await {
            Ok(rebuild::Outcome::Decided(report)) => {
                tracing::info!(projection = name, generation = report.generation, reason = report.reason, "decided");
                Duration::ZERO
            }
            Ok(rebuild::Outcome::Waits { .. })
            | Err(rebuild::Error::Running { .. } | rebuild::Error::Interrupted { .. }) => SECOND,
            Err(error) if error.is_mass_of_parked() => {
                if board.set(name, State::Stopped) {
                    tracing::error!(projection = name, %error, "the new version is not taken; the old rows serve, and stand");
                }
                AGAIN
            }
            Err(error) => {
                tracing::warn!(projection = name, %error, "the projection could not be made anew");
                PAUSES.1
            }
        }
    }
}
