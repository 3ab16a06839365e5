//! A page of events: what is there already, for who does not listen.

use events::Recorded;
use service::http::{Page, Problem, cursor};
use uuid::Uuid;

use super::{Event, filter::Filter, tail::Tail};

/// The most looks into the table for one page. Where nothing fits, a page may be empty and the list go on all the same.
const LOOKS: usize = 8;

/// At most `limit` events after the position `after` that `filter` wants, oldest first, and how far the log goes.
pub async fn page(
    tail: &Tail,
    caller: Uuid,
    filter: &Filter,
    after: i64,
    limit: usize,
) -> Result<(Page<Event>, i64), Problem> {
    let (mut found, mut reached, mut head) = (Vec::new(), after, 0);
    for _ in 0..LOOKS {
        let scanned = tail.scan(caller, filter, reached).await?;
        (reached, head) = (scanned.reached, scanned.head);
        found.extend(scanned.headings.iter().filter(|heading| filter.wants(*heading)).map(|heading| heading.position));
        if found.len() > limit || reached >= head {
            break;
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let events = tail.at(caller, &found).await?;
    let last = events.last().map(|event: &Recorded| event.position);
    let next = match last {
        // They weigh too much to be read at once, or there are more.
        Some(last) if more || events.len() < found.len() => Some(last),
        None if !found.is_empty() => return Err(Problem::down("the log cannot be read that far yet, try again")),
        _ => (reached < head).then_some(reached),
    };
    let next_cursor = next.map(|place| cursor(&place)).transpose()?;
    let items = events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
    Ok((Page { items, next_cursor }, head))
}
