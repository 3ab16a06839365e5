//! What executions have used, by day and model.

mod row;

use events::execution::Event;

pub use events::execution::usage::{UsageDaily, UsageExecution};

use crate::{
    projection::{MOST_PARKED, Projection},
    row::RowTable,
    summed::SummedTable,
};

/// Writes `usage_daily`, and `usage_execution` for what later events of an execution do not say again.
pub static USAGE: Projection = Projection {
    name: "usage",
    version: 1,
    streams: &["execution"],
    kinds: &[Event::KINDS],
    tables: &[&RowTable::<UsageExecution>::NEW, &SummedTable::<UsageDaily>::NEW],
    most_parked: MOST_PARKED,
    kept: None,
};
