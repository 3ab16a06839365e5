//! Since which event a row is not what the log says: the thing's history folded once more, with a look at the row after each
//! event.
//!
//! What a row was earlier nobody knows any more: it is compared as it is now with the fold at each event. Column by column,
//! the **first event after which row and fold differ** is the one after the last at which they were the same; from it on they
//! differ for good. A column whose value the log never gave differs since the event that gave it the value that it should
//! have. For the row it is the first of those of its columns. (Decision 0035 says why that is not looked for by halves.)

use std::pin::pin;

use events::{Recorded, Store};
use futures_util::TryStreamExt as _;

use super::{
    Error,
    report::{Explanation, Live, Sample},
};
use crate::{bulk::Last, projection::Projection};

/// Says for each sample which event explains it, of those up to `until`. A history that cannot be folded is said to be so.
pub(crate) async fn all(
    projection: &'static Projection,
    store: &Store,
    samples: &mut [Sample],
    until: i64,
) -> Result<(), Error> {
    for sample in samples {
        if projection.tables.iter().any(|table| table.is_summed() && table.name() == sample.table) {
            "it is the sum of events of many things".clone_into(&mut sample.why);
            continue;
        }
        one(projection, store, sample, until).await?;
    }
    Ok(())
}

async fn one(projection: &'static Projection, store: &Store, sample: &mut Sample, until: i64) -> Result<(), Error> {
    let mut trail = Trail::new(sample);
    let mut gathered = projection.gather();
    let things = [sample.id];
    let mut events = pin!(store.of(projection.streams, &things, until));
    while let Some(event) = events.try_next().await? {
        if let Err(error) = projection.concerns(&event).and_then(|_| gathered.take(&event)) {
            if !error.is_of_an_event() {
                return Err(error.into());
            }
            sample.event = Some(explanation(&event));
            sample.why = format!("it cannot be folded: {error}");
            return Ok(());
        }
        let last = gathered.last(&sample.table, event.id);
        // Of a thing with several rows this may be about others.
        trail.see(&event, last.iter().find(|last| last.key == sample.key()));
    }
    trail.tell(sample);
    Ok(())
}

fn explanation(event: &Recorded) -> Explanation {
    Explanation { position: event.position, kind: event.kind.clone(), version: event.version }
}

/// What the events seen so far have shown of one row.
struct Trail {
    /// How many there were.
    events: usize,
    /// The first that made the row.
    made: Option<Explanation>,
    /// The columns in which it differs now.
    columns: Vec<Column>,
}

/// What they have shown of a column.
struct Column {
    live: Live,
    /// What the fold has now, in the form in which it is compared.
    fold: Option<Vec<u8>>,
    /// The last event that changed that.
    set: Option<Explanation>,
    /// The last event that made it another than the live value, which it was before.
    parted: Option<Explanation>,
}

impl Trail {
    fn new(sample: &Sample) -> Self {
        let live = if sample.change == "changed" { sample.live.as_slice() } else { &[] };
        let columns = live.iter().map(|live| {
            let value = live.value.as_deref().map(|value| compared(value, live.is_numeric));
            Column { live: Live { value, ..live.clone() }, fold: None, set: None, parted: None }
        });
        Self { events: 0, made: None, columns: columns.collect() }
    }

    /// Looks at the row after an event, if it is there by then and of this event.
    fn see(&mut self, event: &Recorded, last: Option<&Last>) {
        self.events += 1;
        let Some(last) = last else { return };
        let values = last.row.values();
        for column in &mut self.columns {
            let index = last.columns.iter().position(|name| *name == column.live.column);
            let value = index.and_then(|index| values.get(index).copied().flatten());
            column.see(event, value, self.made.is_none());
        }
        self.made.get_or_insert_with(|| explanation(event));
    }

    fn tell(self, sample: &mut Sample) {
        let why = match (sample.change.as_str(), self.made) {
            _ if self.events == 0 => "the log has no event of it".to_owned(),
            (_, None) => format!("none of its {} events makes such a row", self.events),
            ("added", made) => {
                sample.event = made;
                "it makes the row".to_owned()
            }
            _ => {
                let since = |column: &Column| column.since().map_or(0, |event| event.position);
                for column in &self.columns {
                    if let Some(values) = sample.columns.get_mut(&column.live.column) {
                        values.event = column.since().cloned();
                    }
                }
                let first = self.columns.iter().min_by_key(|column| since(column));
                sample.event = first.and_then(Column::since).cloned();
                let at = first.map_or(0, since);
                let named = |was: bool| -> Vec<&str> {
                    let of = self.columns.iter().filter(|column| since(column) == at && column.parted.is_some() == was);
                    of.map(|column| column.live.column.as_str()).collect()
                };
                why(&named(true), &named(false))
            }
        };
        sample.why = why;
    }
}

impl Column {
    fn see(&mut self, event: &Recorded, value: Option<&[u8]>, is_first: bool) {
        let value = value.map(|value| compared(value, self.live.is_numeric));
        if !is_first && value == self.fold {
            return;
        }
        if value == self.live.value {
            self.parted = None;
        } else if !is_first && self.fold == self.live.value {
            self.parted = Some(explanation(event));
        }
        self.fold = value;
        self.set = Some(explanation(event));
    }

    /// The first event after which it differs.
    fn since(&self) -> Option<&Explanation> {
        self.parted.as_ref().or(self.set.as_ref())
    }
}

/// What an event has to do with the columns that are as they were `before` it, and with those whose values were `never` there.
fn why(before: &[&str], never: &[&str]) -> String {
    let mut parts = Vec::new();
    if !before.is_empty() {
        parts.push(format!("the live row is as before it in {}", before.join(", ")));
    }
    if !never.is_empty() {
        parts.push(format!("it sets {}, of which the live value is none that the log ever gave", never.join(", ")));
    }
    parts.join("; ")
}

/// A value in the form in which two are the same if PostgreSQL says so.
fn compared(value: &[u8], is_numeric: bool) -> Vec<u8> {
    let mut value = value.to_vec();
    if is_numeric && value.len() >= NUMERIC_HEAD {
        // Digits to the base 10,000 that are 0 at the end, and how many digits are shown after the point.
        while value.len() > NUMERIC_HEAD && value.ends_with(&[0, 0]) {
            value.truncate(value.len() - 2);
        }
        let digits = u16::try_from((value.len() - NUMERIC_HEAD) / 2).unwrap_or(u16::MAX);
        value[..2].copy_from_slice(&digits.to_be_bytes());
        value[6..NUMERIC_HEAD].fill(0);
    }
    value
}

/// Number of digits, weight, sign and scale, before the digits of a number of any precision.
const NUMERIC_HEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::Copy;

    #[test]
    fn numbers_are_the_same_whatever_their_digits_after_the_point() {
        let written = |text: &str| {
            let mut copy = Copy::default();
            copy.row(1).maybe_numeric(Some(text.parse().unwrap()));
            compared(copy.values()[0].unwrap(), true)
        };
        for (one, other) in
            [("1", "1.000"), ("0", "0.00"), ("1.5", "1.50000"), ("20000", "20000.0"), ("0.0003", "0.00030")]
        {
            assert_eq!(written(one), written(other), "{one}");
        }
        for (one, other) in [("1", "10000"), ("1", "-1"), ("0.1", "0.01"), ("1", "0.0001")] {
            assert_ne!(written(one), written(other), "{one}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut copy = Copy::default();
        copy.row(4).int(7).maybe_text(None).text("").text("it");
        assert_eq!(copy.values(), [Some(&[0, 0, 0, 7][..]), None, Some(&[][..]), Some(&b"it"[..])]);
    }
}
