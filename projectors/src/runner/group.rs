//! The projections that share a reader.

use std::{collections::HashSet, sync::Arc, time::Duration};

use events::Recorded;
use nats::feed::Reader;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use super::{Alone, BATCH, Member, Shared, portion};
use crate::{
    board::State,
    checkpoint::{self, Outcome, Pass, Target},
    projection::Error,
};

/// How long checkpoints of projections that nothing concerns may stay behind.
const LULL: Duration = Duration::from_millis(50);
/// How long the others wait for a projection that applies a batch.
const PATIENCE: Duration = Duration::from_millis(250);

/// The group.
pub(super) struct Group {
    shared: Shared,
    joining: mpsc::UnboundedReceiver<Member>,
    members: Vec<Member>,
    reader: Reader,
    /// When the checkpoints of those that nothing concerns are moved.
    due: Option<Instant>,
}

/// What became of a batch in a member.
type Done = (Member, Result<Outcome, Error>);

impl Group {
    pub(super) fn new(shared: Shared, joining: mpsc::UnboundedReceiver<Member>) -> Self {
        let reader = shared.feed.reader(0);
        Self { shared, joining, members: Vec::new(), reader, due: None }
    }

    /// Works until the process stops.
    pub(super) async fn run(mut self) {
        let soft = self.shared.soft.clone();
        loop {
            let stands = (!self.members.is_empty()).then(|| self.reader.position());
            self.shared.group.send_if_modified(|stood| std::mem::replace(stood, stands) != stands);
            tokio::select! {
                biased;
                () = soft.cancelled() => return,
                Some(member) = self.joining.recv() => self.admit(member),
                () = sleep_until(self.due.unwrap_or_else(Instant::now)), if self.due.is_some() => self.pass().await,
                batch = self.reader.next(BATCH), if stands.is_some() => match batch {
                    Ok(batch) => self.take(&batch).await,
                    Err(error) => self.dissolve(&error.into()),
                },
            }
        }
    }

    /// Takes in one that stands about where the group does. If it is a little behind, the group reads again from there.
    fn admit(&mut self, mut member: Member) {
        let (seen, stands) = (member.seen(), self.reader.position());
        if !self.members.is_empty() && !is_near(seen, stands) {
            return self.part(member, None);
        }
        if self.members.is_empty() || seen < stands {
            self.reader = self.shared.feed.reader(seen);
        }
        member.is_slow = false;
        self.members.push(member);
    }

    /// From here on the member goes on by itself.
    fn part(&self, member: Member, met: Option<Result<Outcome, Error>>) {
        self.shared.tasks.spawn(Alone::new(member, self.shared.clone()).run(met));
    }

    /// Hands a batch to the members.
    async fn take(&mut self, mut batch: &[Arc<Recorded>]) {
        while !batch.is_empty() {
            let (now, later) = batch.split_at(portion(batch));
            if let Some(target) = Target::of(now) {
                self.apply(now, target).await;
            }
            batch = later;
        }
    }

    async fn apply(&mut self, batch: &[Arc<Recorded>], target: Target) {
        let (done, mut doing) = mpsc::unbounded_channel::<Done>();
        let mut left = 0_usize;
        for mut member in std::mem::take(&mut self.members) {
            let own = member.own(batch);
            if own.is_empty() {
                member.pass(target);
                self.due.get_or_insert_with(|| Instant::now() + LULL);
                self.members.push(member);
                continue;
            }
            left += 1;
            let (shared, done) = (self.shared.clone(), done.clone());
            self.shared.tasks.spawn(async move {
                let met = member.apply(&shared, &own, target).await;
                // Where the group did not wait, it goes on by itself.
                if let Err(mpsc::error::SendError((mut member, met))) = done.send((member, met)) {
                    member.is_slow = true;
                    Alone::new(member, shared).run(Some(met)).await;
                }
            });
        }
        let until = Instant::now() + PATIENCE;
        while left > 0
            && let Ok(Some(one)) = timeout_at(until, doing.recv()).await
        {
            left -= 1;
            self.back(one);
        }
        doing.close();
        while let Ok(one) = doing.try_recv() {
            self.back(one);
        }
    }

    fn back(&mut self, (member, met): Done) {
        match met {
            Ok(Outcome::Applied(_)) => self.members.push(member),
            met => self.part(member, Some(met)),
        }
    }

    /// Moves the checkpoints of all that have seen more than they have applied, in one statement, and tells it in one message.
    async fn pass(&mut self) {
        self.due = None;
        let (behind, level): (Vec<_>, Vec<_>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| member.place.is_some_and(|place| place.seen.place != place.at));
        self.members = level;
        let passes = behind.iter().filter_map(|member| {
            let place = member.place?;
            Some(Pass { projection: member.projection, from: place.at, to: place.seen })
        });
        let passes: Vec<Pass> = passes.collect();
        let permit = self.shared.permits.acquire().await;
        let moved = checkpoint::pass(&self.shared.connections, &passes).await;
        drop(permit);
        match moved {
            Ok(moved) => {
                let moved: HashSet<&str> = moved.iter().map(String::as_str).collect();
                let mut told = Vec::with_capacity(moved.len());
                for mut member in behind {
                    if moved.contains(member.projection.name) {
                        member.moved(&self.shared);
                        told.push((member.projection.name, member.seen()));
                        self.members.push(member);
                    } else {
                        self.part(member, Some(Ok(Outcome::Superseded)));
                    }
                }
                if !told.is_empty() {
                    self.shared.bus.publish_positions(&told).await;
                }
            }
            Err(error) => {
                self.members.extend(behind);
                self.dissolve(&error);
            }
        }
    }

    /// What has happened concerns all members: each begins again by itself.
    fn dissolve(&mut self, error: &Error) {
        tracing::warn!(%error, "the projections try again");
        self.due = None;
        for mut member in std::mem::take(&mut self.members) {
            member.place = None;
            self.shared.board.set(member.projection.name, State::Retrying);
            self.part(member, None);
        }
    }
}

/// Whether two may share a reader.
pub(super) fn is_near(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= BATCH as u64
}
