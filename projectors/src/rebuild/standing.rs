//! All projections at a glance.

use super::{Error, Generation, Workshop};
use crate::projection::Projection;

/// Where a projection stands, and what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: &'static str,
    /// The version of this code.
    pub version: i32,
    /// The version of the code that made the live rows.
    pub live_version: i32,
    /// Where the live rows stand.
    pub position: i64,
    /// How many events they do not have yet.
    pub lag: i64,
    /// How many things have events that cannot be applied.
    pub parked: i32,
    /// The number of the live generation.
    pub generation: i32,
    /// The generations that are not live.
    pub others: Vec<Generation>,
}

/// All projections, in the order of the program.
pub async fn standings(workshop: &Workshop) -> Result<Vec<Standing>, Error> {
    let head = workshop.store.head().await?;
    let all = Generation::all(&workshop.pool).await?;
    let rows = sqlx::query!("select name, version, position, generation, parked from checkpoint");
    let rows = rows.fetch_all(&workshop.pool).await?;
    let standings = crate::ALL.iter().map(|projection| {
        let Projection { name, version, .. } = projection;
        let row = rows.iter().find(|row| row.name == *name);
        let position = row.map_or(0, |row| row.position);
        Standing {
            name,
            version: *version,
            live_version: row.map_or(*version, |row| row.version),
            position,
            lag: (head - position).max(0),
            parked: row.map_or(0, |row| row.parked),
            generation: row.map_or(0, |row| row.generation),
            others: all.iter().filter(|one| one.projection == *name).cloned().collect(),
        }
    });
    Ok(standings.collect())
}
