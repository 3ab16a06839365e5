//! What an event costs with so many projections reading the log beside each other.

use projectors::{ALL, Projection, execution::EXECUTIONS};

use super::{Growth, place::Place, short};
use crate::{harness::median, history::History};

pub(super) async fn measure(growth: &mut Growth, count: usize) -> anyhow::Result<()> {
    let place = Place::start().await?;
    place.fill(&mut History::new(), count).await?;
    // That of executions is in each.
    let all: Vec<&Projection> =
        [&EXECUTIONS].into_iter().chain(ALL.iter().filter(|one| one.name != EXECUTIONS.name).copied()).collect();
    for some in [1, 2, 4, all.len()].map(|some| &all[..some]) {
        let mut costs = Vec::new();
        for _ in 0..3 {
            place.forget().await?;
            costs.push(place.project(some, count).await?);
        }
        let at = format!("{} of {} events", some.len(), short(count));
        growth.add("catch-up, by projections", &at, "µs/event", median(&mut costs), count * 3)?;
    }
    place.stop().await
}
