//! What an event costs with so many projections reading the log beside each other.

use super::{Growth, place::Place, short};
use crate::{harness::median, history::History};

pub(super) async fn measure(growth: &mut Growth, count: usize) -> anyhow::Result<()> {
    let place = Place::start().await?;
    place.fill(&mut History::new(), count).await?;
    for names in [&["execution"][..], &["execution", "prompt"], &["execution", "prompt", "catalog", "identity"]] {
        let mut costs = Vec::new();
        for _ in 0..3 {
            place.forget().await?;
            costs.push(place.project(names, count).await?);
        }
        let at = format!("{} of {} events", names.len(), short(count));
        growth.add("catch-up, by projections", &at, "µs/event", median(&mut costs), count * 3)?;
    }
    place.stop().await
}
