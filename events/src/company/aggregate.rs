//! A company, as far as decisions need it.

use std::collections::BTreeMap;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ARCHIVE, Change, Command, CompanyChanges, Error, Event, NewCompany, Settings, WRITE};
use crate::{
    Action, Patch, Role, Stream,
    permission::{self, Because, Standing},
};

/// A company.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Company {
    created: bool,
    name: String,
    archived: bool,
    members: BTreeMap<Uuid, Role>,
    settings: Settings,
}

impl Company {
    /// What a user is in it.
    pub fn standing(&self, user: Uuid) -> Standing {
        Standing { role: self.members.get(&user).copied(), is_archived: self.archived, ..Standing::default() }
    }

    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Create(..) if self.created => Err(Error::Exists),
            Command::Create(user_id, NewCompany { name }) => Ok(vec![
                Event::CompanyCreated { name: name.trim().to_owned() },
                Event::MemberJoined { user_id, role: Role::Owner },
            ]),
            Command::Change(by, change) => Ok(self.change(by, change)?.into_iter().collect()),
        }
    }

    fn change(&self, by: Uuid, change: Change) -> Result<Option<Event>, Error> {
        let own = *self.members.get(&by).ok_or(Error::NotFound)?;
        match change {
            Change::Archive if self.archived => self.need(&ARCHIVE, by).or_else(already).map(|()| None),
            Change::Archive => {
                self.need(&ARCHIVE, by)?;
                Ok(Some(Event::CompanyArchived {}))
            }
            Change::Rename(CompanyChanges { name }) => {
                self.need(&WRITE, by)?;
                let Patch::Set(name) = name.map(|name| name.trim().to_owned()).unless(&self.name) else {
                    return Ok(None);
                };
                Ok(Some(Event::CompanyRenamed { name }))
            }
            Change::Settings(changes) => {
                self.need(&WRITE, by)?;
                Ok(changes.beyond(&self.settings).map(Event::CompanySettingChanged))
            }
            Change::Role(user_id, role) => {
                self.need(&WRITE, by)?;
                let now = self.touch(own, user_id, role == Role::Owner)?;
                if now == Role::Owner && role != Role::Owner {
                    self.need_another_owner()?;
                }
                Ok((now != role).then_some(Event::MemberRoleChanged { user_id, role }))
            }
            Change::Remove(user_id) if user_id == by => {
                if own == Role::Owner {
                    self.need_another_owner()?;
                }
                Ok(Some(Event::MemberLeft { user_id }))
            }
            Change::Remove(user_id) => {
                self.need(&WRITE, by)?;
                if self.touch(own, user_id, false)? == Role::Owner {
                    self.need_another_owner()?;
                }
                Ok(Some(Event::MemberRemoved { user_id }))
            }
        }
    }

    fn need(&self, action: &Action, by: Uuid) -> Result<(), Error> {
        match permission::decide(action, self.standing(by)) {
            Ok(_) => Ok(()),
            Err(Because::NeedsRole(role)) => Err(Error::Needs(role)),
            Err(Because::Archived) => Err(Error::Archived),
            Err(_) => Err(Error::NotFound),
        }
    }

    /// The role of a member, whom one with the role `own` wants to change. Only owners make, remove and demote owners.
    fn touch(&self, own: Role, user: Uuid, makes_owner: bool) -> Result<Role, Error> {
        let role = *self.members.get(&user).ok_or(Error::NoSuchMember)?;
        if own < Role::Owner && (makes_owner || role == Role::Owner) {
            return Err(Error::Needs(Role::Owner));
        }
        Ok(role)
    }

    fn need_another_owner(&self) -> Result<(), Error> {
        let owners = self.members.values().filter(|role| **role == Role::Owner).count();
        if owners > 1 { Ok(()) } else { Err(Error::LastOwner) }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::CompanyCreated { name } => *self = Self { created: true, name, ..Self::default() },
            Event::CompanyRenamed { name } => self.name = name,
            Event::CompanyArchived {} => self.archived = true,
            Event::MemberLeft { user_id } | Event::MemberRemoved { user_id } => {
                self.members.remove(&user_id);
            }
            Event::MemberJoined { user_id, role } | Event::MemberRoleChanged { user_id, role } => {
                self.members.insert(user_id, role);
            }
            Event::CompanySettingChanged(changes) => changes.apply(&mut self.settings),
        }
    }
}

impl Aggregate for Company {
    const TYPE: &'static str = "company";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.evolve(event);
    }
}

/// Who archives an archived company once more changes nothing.
fn already(refused: Error) -> Result<(), Error> {
    if refused == Error::Archived { Ok(()) } else { Err(refused) }
}

impl Stream for Company {
    fn scope(&self, id: Uuid) -> Option<Uuid> {
        Some(id)
    }
}
