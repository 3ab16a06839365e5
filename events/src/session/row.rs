//! A session, folded.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Event;
use crate::{
    Recorded,
    read_model::{ReadModel, Row, Table},
};

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, derive::Columns)]
pub struct Session {
    /// Whose it is.
    pub user_id: Uuid,
    /// When it was opened or last refreshed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub expires_at: DateTime<Utc>,
    /// Whether it is closed.
    pub closed: bool,
}

/// The table of sessions.
pub static SESSION: Table = Table::of::<Row<Session>>();

impl ReadModel for Session {
    const NAME: &'static str = "session";
    type Event = Event;

    fn fold(row: Option<Self>, event: Event, recorded: &Recorded) -> Option<Self> {
        match (event, row) {
            (Event::SessionOpened { user_id, expires_at }, None) => {
                Some(Self { user_id, last_used_at: recorded.recorded_at, expires_at, closed: false })
            }
            (Event::SessionRefreshed { expires_at, .. }, Some(row)) => {
                Some(Self { last_used_at: recorded.recorded_at, expires_at, ..row })
            }
            (Event::SessionClosed { .. }, Some(row)) => Some(Self { closed: true, ..row }),
            _ => None,
        }
    }
}
