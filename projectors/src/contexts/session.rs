//! Sessions.

use events::{read_model::Row, session::row::Session};

use crate::{projection::Projection, row::RowTable};

/// Writes `session`.
pub static SESSION: Projection = Projection::of::<(Row<Session>,)>("session", 1, &[&RowTable::<Row<Session>>::NEW]);
