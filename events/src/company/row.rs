//! A company, folded, and each who was ever a member of it.

use uuid::Uuid;

use super::{Event, Settings};
use crate::{
    Recorded, Role,
    read_model::{ReadModel, Row, Table},
};

/// A company.
#[derive(Debug, Clone, PartialEq, Eq, derive::Columns)]
pub struct Company {
    /// For people.
    pub name: String,
    /// Whether it is archived.
    pub archived: bool,
    /// What is settled for its members.
    #[column(json)]
    pub settings: String,
}

/// The table of companies.
pub static COMPANY: Table = Table::of::<Row<Company>>();

impl ReadModel for Company {
    const NAME: &'static str = "company";
    type Event = Event;

    fn fold(row: Option<Self>, event: Event, _: &Recorded) -> Option<Self> {
        let Some(mut row) = row else {
            let Event::CompanyCreated { name } = event else { return None };
            return Some(Self { name, archived: false, settings: serde_json::to_string(&Settings::default()).ok()? });
        };
        match event {
            Event::CompanyCreated { .. } => return None,
            Event::CompanyRenamed { name } => row.name = name,
            Event::CompanyArchived {} => row.archived = true,
            Event::CompanySettingChanged(changes) => {
                let mut settings: Settings = serde_json::from_str(&row.settings).ok()?;
                changes.apply(&mut settings);
                row.settings = serde_json::to_string(&settings).ok()?;
            }
            Event::MemberJoined { .. }
            | Event::MemberLeft { .. }
            | Event::MemberRemoved { .. }
            | Event::MemberRoleChanged { .. } => {}
        }
        Some(row)
    }
}

impl Event {
    /// Whom it makes a member of this role, or, without a role, no member any more.
    pub fn member(&self) -> Option<(Uuid, Option<Role>)> {
        match self {
            Self::MemberJoined { user_id, role } | Self::MemberRoleChanged { user_id, role } => {
                Some((*user_id, Some(*role)))
            }
            Self::MemberLeft { user_id } | Self::MemberRemoved { user_id } => Some((*user_id, None)),
            Self::CompanyCreated { .. }
            | Self::CompanyRenamed { .. }
            | Self::CompanyArchived {}
            | Self::CompanySettingChanged(_) => None,
        }
    }
}
