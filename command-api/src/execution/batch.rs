//! Many dead letters that are sent again by one request with an idempotency key.
//!
//! There is no record of such a request as a whole, and none that could be lost between two of its commands: each is recorded
//! under a part of the key, which says what all of them are. Whoever comes again with the key after a kill in the middle goes on
//! with the rest of the same, and is told all of it.

use std::{fmt, str::FromStr};

use events::{Call, Error, Key, Store, execution};
use service::http::Problem;
use uuid::Uuid;

/// What begins the part of a key. No key that a client gives has one.
const PART: char = '\n';

/// What is sent: of those that a filter matched, all that had failed up to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// How many the filter matched.
    pub matched: i64,
    /// Where the last of them failed.
    pub until: i64,
    /// The filter's prompt.
    pub prompt_id: Option<Uuid>,
}

/// What was sent of a batch.
#[derive(Debug)]
pub struct Begun {
    /// The batch.
    pub batch: Batch,
    /// The position in the log, the new execution, and the dead letter, in the order of the log.
    pub sent: Vec<(i64, Uuid, Uuid)>,
}

impl Batch {
    /// The part of `call` that sends `id`.
    pub fn part(&self, call: &Call, id: Uuid) -> Call {
        let part = |key: &Key| Key { key: format!("{}{PART}{self} {id}", key.key), ..key.clone() };
        Call { key: call.key.as_ref().map(part), ..call.clone() }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matched, until, prompt_id } = self;
        write!(f, "{matched} {until} ")?;
        match prompt_id {
            Some(id) => id.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// What was sent under `key`, if anything was. 422 if that was another request, or of another prompt.
pub async fn begun(store: &Store, key: &Key, prompt_id: Option<Uuid>) -> Result<Option<Begun>, Problem> {
    let reused = || Problem::from(Error::<execution::Error>::KeyReused);
    let parts = Key { key: format!("{}{PART}", key.key), ..key.clone() };
    let mut begun = None;
    for (rest, id, position) in store.replays(&parts).await?.ok_or_else(reused)? {
        let strange = || Problem::internal(std::io::Error::other(format!("{rest:?} is no part of a redrive")));
        let (batch, dead) = read(&rest).ok_or_else(strange)?;
        if batch.prompt_id != prompt_id {
            return Err(reused());
        }
        begun.get_or_insert_with(|| Begun { batch, sent: Vec::new() }).sent.push((position, id, dead));
    }
    Ok(begun)
}

/// The batch and the dead letter of a part.
fn read(part: &str) -> Option<(Batch, Uuid)> {
    fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
        word?.parse().ok()
    }
    let mut words = part.split(' ');
    let (matched, until) = (number(words.next())?, number(words.next())?);
    let prompt_id = match words.next()? {
        "-" => None,
        id => Some(id.parse().ok()?),
    };
    Some((Batch { matched, until, prompt_id }, number(words.next())?))
}

#[cfg(test)]
mod tests {
    use events::Meta;

    use super::*;

    #[test]
    fn a_part_says_what_the_whole_is() {
        let id = Uuid::from_u128(7);
        let meta = Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None };
        let key = Key { caller: id, key: "POST /\nkey".to_owned(), request: [1; 32] };
        let call = Call { key: Some(key.clone()), ..Call::from(meta) };
        for prompt_id in [None, Some(Uuid::from_u128(8))] {
            let batch = Batch { matched: 41, until: 1_000_000, prompt_id };
            let part = batch.part(&call, id).key.unwrap();
            assert_eq!((part.caller, part.request), (key.caller, key.request));
            let rest = part.key.strip_prefix("POST /\nkey\n").unwrap();
            assert_eq!(read(rest), Some((batch, id)));
        }
        assert_eq!(read("41 1000 -"), None);
    }
}
