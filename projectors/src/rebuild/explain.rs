//! Which event makes a row as it is: the thing's history once more, an event at a time, into tables of its own.

use std::sync::Arc;

use events::Recorded;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    Error, Workshop,
    report::{Explanation, Sample},
};
use crate::projection::{Projection, concerns};

/// The most events of a thing that are looked at.
const MOST: usize = 1000;

/// Says for each sample which event explains it. Best effort: a history that cannot be folded is said to be so.
pub(crate) async fn all<P: Projection>(
    workshop: &Workshop,
    schema: &str,
    samples: &mut [Sample],
    until: i64,
) -> Result<(), Error> {
    for sample in samples {
        one::<P>(workshop, schema, sample, until).await?;
    }
    Ok(())
}

async fn one<P: Projection>(workshop: &Workshop, schema: &str, sample: &mut Sample, until: i64) -> Result<(), Error> {
    let mut history: Vec<Arc<Recorded>> = Vec::new();
    for stream in P::STREAMS {
        let events = workshop.store.stream(stream, sample.id).await?;
        history.extend(events.into_iter().filter(|event| event.position <= until).map(Arc::new));
    }
    history.sort_by_key(|event| event.position);
    let Some(last) = history.last().cloned() else {
        "the log has no event of it".clone_into(&mut sample.why);
        return Ok(());
    };
    if history.len() > MOST {
        sample.event = Some(explanation(&last));
        sample.why = format!("its last of {} events, which are too many to look at each", history.len());
        return Ok(());
    }
    let (event, why) = match trace::<P>(workshop, schema, &history, sample).await? {
        Traced::Made(index) if sample.change == "added" => (Some(index), "it makes the row"),
        Traced::Made(index) => (Some(index), "from it on the columns are as in the new generation"),
        Traced::Never => (Some(history.len() - 1), "its last event; none of them makes the row"),
        Traced::Failed(index, error) => {
            sample.event = history.get(index).map(|event| explanation(event));
            sample.why = format!("it cannot be folded: {error}");
            return Ok(());
        }
    };
    sample.event = event.and_then(|index| history.get(index)).map(|event| explanation(event));
    why.clone_into(&mut sample.why);
    Ok(())
}

fn explanation(event: &Recorded) -> Explanation {
    Explanation { position: event.position, kind: event.kind.clone(), version: event.version }
}

/// What looking at each event has shown.
enum Traced {
    /// After this one the columns have their last values.
    Made(usize),
    /// The row is never made.
    Never,
    /// This one cannot be applied.
    Failed(usize, String),
}

/// Applies the events one after the other, and looks at the row after each.
async fn trace<P: Projection>(
    workshop: &Workshop,
    schema: &str,
    history: &[Arc<Recorded>],
    sample: &Sample,
) -> Result<Traced, Error> {
    let Sample { table, id, version, columns, .. } = sample;
    // A connection of its own: temporary tables hide the live ones from all that it is asked.
    let options = (*workshop.pool.connect_options()).clone().options([("search_path", "public")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut tx = connection.begin().await?;
    for table in P::TABLES {
        let sql = format!("create temporary table {table} (like {schema}.{table} including all) on commit drop");
        tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    }
    let columns: Vec<String> = columns.keys().map(|column| format!("{column}::text")).collect();
    let row = format!(
        "select array[{}]::text[] from {table} where id = $1 and ($2::integer is null or version = $2)",
        columns.join(", ")
    );
    let (mut before, mut made) = (None, Traced::Never);
    for (index, event) in history.iter().enumerate() {
        let applied = match concerns::<P>(event) {
            Ok(_) => P::apply(&mut tx, std::slice::from_ref(event)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = applied {
            made = Traced::Failed(index, error.to_string());
            break;
        }
        let query = sqlx::query_scalar::<_, Vec<Option<String>>>(AssertSqlSafe(row.clone()));
        let after = query.bind(id).bind(version).fetch_optional(&mut *tx).await?;
        if after != before {
            made = if after.is_some() { Traced::Made(index) } else { Traced::Never };
            before = after;
        }
    }
    tx.rollback().await?;
    connection.close().await?;
    Ok(made)
}
