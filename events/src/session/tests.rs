//! The rules of sessions as a table.

use chrono::{DateTime, Utc};
use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Command, Error, Event, Reason, Session};

const USER: Uuid = Uuid::from_u128(1);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn open() -> Command {
    Command::Open { user_id: USER, expires_at: at(10) }
}

fn refresh(generation: u32) -> Command {
    Command::Refresh { generation, expires_at: at(20) }
}

fn opened() -> Event {
    Event::SessionOpened { user_id: USER, expires_at: at(10) }
}

fn refreshed(generation: u32) -> Event {
    Event::SessionRefreshed { generation, expires_at: at(20) }
}

fn closed(reason: Reason) -> Event {
    Event::SessionClosed { reason }
}

#[test]
fn each_refresh_token_is_exchanged_once_and_none_of_a_closed_session() {
    use Reason::{LoggedOut, RefreshReused};
    let closed_one = || vec![opened(), refreshed(1), closed(RefreshReused)];
    for (given, when, then) in [
        (vec![], open(), Ok(vec![opened()])),
        (vec![], refresh(0), Err(Error::NotFound)),
        (vec![], Command::Close(LoggedOut), Err(Error::NotFound)),
        (vec![opened()], open(), Err(Error::Exists)),
        (vec![opened()], refresh(0), Ok(vec![refreshed(1)])),
        (vec![opened(), refreshed(1)], refresh(0), Err(Error::Spent)),
        (vec![opened(), refreshed(1)], refresh(1), Ok(vec![refreshed(2)])),
        (vec![opened(), refreshed(1)], refresh(2), Err(Error::Spent)),
        (vec![opened()], Command::Close(LoggedOut), Ok(vec![closed(LoggedOut)])),
        (closed_one(), Command::Close(LoggedOut), Ok(vec![])),
        (closed_one(), refresh(1), Err(Error::Closed)),
    ] {
        let test = TestFramework::<Session>::with(()).given(given).when(when);
        match then {
            Ok(events) => test.then_expect_events(events),
            Err(error) => test.then_expect_error(error),
        }
    }
}
