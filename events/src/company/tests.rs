//! The rules of companies as tables.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Change, Command, Company, CompanyChanges, Error, Event, NewCompany, SettingsChanges};
use crate::{Patch, Role};

const OWNER: Uuid = Uuid::from_u128(1);
const ADMIN: Uuid = Uuid::from_u128(2);
const EDITOR: Uuid = Uuid::from_u128(3);
const VIEWER: Uuid = Uuid::from_u128(4);
const STRANGER: Uuid = Uuid::from_u128(5);
const SECOND: Uuid = Uuid::from_u128(6);

fn joined(user_id: Uuid, role: Role) -> Event {
    Event::MemberJoined { user_id, role }
}

fn created() -> Event {
    Event::CompanyCreated { name: "Acme".to_owned() }
}

/// One of each role.
fn staffed() -> Vec<Event> {
    vec![
        created(),
        joined(OWNER, Role::Owner),
        joined(ADMIN, Role::Admin),
        joined(EDITOR, Role::Editor),
        joined(VIEWER, Role::Viewer),
    ]
}

fn and(mut given: Vec<Event>, event: Event) -> Vec<Event> {
    given.push(event);
    given
}

fn check(given: Vec<Event>, when: Command, then: Result<Vec<Event>, Error>) {
    let test = TestFramework::<Company>::with(()).given(given).when(when);
    match then {
        Ok(events) => test.then_expect_events(events),
        Err(error) => test.then_expect_error(error),
    }
}

fn rename(name: &str) -> Change {
    Change::Rename(CompanyChanges { name: Patch::Set(name.to_owned()) })
}

fn currency(currency: Option<&str>) -> SettingsChanges {
    SettingsChanges { currency: Patch::Set(currency.map(str::to_owned)), ..SettingsChanges::default() }
}

#[test]
fn a_company_is_made_with_its_owner() {
    let create = || Command::Create(OWNER, NewCompany { name: " Acme ".to_owned() });
    check(vec![], create(), Ok(vec![created(), joined(OWNER, Role::Owner)]));
    check(staffed(), create(), Err(Error::Exists));
    check(vec![], Command::Change(OWNER, Change::Archive), Err(Error::NotFound));
}

#[test]
fn who_may_change_what() {
    let settled = || currency(Some("EUR"));
    let renamed = || Event::CompanyRenamed { name: "Ajax".to_owned() };
    let admin = || Err(Error::Needs(Role::Admin));
    let owner = || Err(Error::Needs(Role::Owner));
    for (by, names, settles, archives) in [
        (
            OWNER,
            Ok(vec![renamed()]),
            Ok(vec![Event::CompanySettingChanged(settled())]),
            Ok(vec![Event::CompanyArchived {}]),
        ),
        (ADMIN, Ok(vec![renamed()]), Ok(vec![Event::CompanySettingChanged(settled())]), owner()),
        (EDITOR, admin(), admin(), owner()),
        (VIEWER, admin(), admin(), owner()),
        (STRANGER, Err(Error::NotFound), Err(Error::NotFound), Err(Error::NotFound)),
    ] {
        check(staffed(), Command::Change(by, rename("Ajax")), names);
        check(staffed(), Command::Change(by, Change::Settings(settled())), settles);
        check(staffed(), Command::Change(by, Change::Archive), archives);
    }
}

#[test]
fn what_is_so_already_is_no_event() {
    let by_owner = |change| Command::Change(OWNER, change);
    check(staffed(), by_owner(rename(" Acme ")), Ok(vec![]));
    check(staffed(), by_owner(Change::Settings(currency(None))), Ok(vec![]));
    check(staffed(), by_owner(Change::Role(VIEWER, Role::Viewer)), Ok(vec![]));
    let settled = || and(staffed(), Event::CompanySettingChanged(currency(Some("EUR"))));
    check(settled(), by_owner(Change::Settings(currency(Some("EUR")))), Ok(vec![]));
    let cleared = Event::CompanySettingChanged(currency(None));
    check(settled(), by_owner(Change::Settings(currency(None))), Ok(vec![cleared]));
}

#[test]
fn an_archived_company_only_loses_members() {
    let archived = || and(and(staffed(), joined(SECOND, Role::Owner)), Event::CompanyArchived {});
    check(archived(), Command::Change(OWNER, Change::Archive), Ok(vec![]));
    check(archived(), Command::Change(ADMIN, Change::Archive), Err(Error::Needs(Role::Owner)));
    check(archived(), Command::Change(OWNER, rename("Ajax")), Err(Error::Archived));
    check(archived(), Command::Change(OWNER, Change::Role(VIEWER, Role::Admin)), Err(Error::Archived));
    check(archived(), Command::Change(VIEWER, Change::Remove(VIEWER)), Ok(vec![Event::MemberLeft { user_id: VIEWER }]));
}

#[test]
fn who_may_change_whose_role() {
    let changed = |user_id, role| Ok(vec![Event::MemberRoleChanged { user_id, role }]);
    let needs = |role| Err(Error::Needs(role));
    for (by, of, role, then) in [
        (OWNER, VIEWER, Role::Owner, changed(VIEWER, Role::Owner)),
        (OWNER, ADMIN, Role::Viewer, changed(ADMIN, Role::Viewer)),
        (OWNER, OWNER, Role::Admin, Err(Error::LastOwner)),
        (OWNER, STRANGER, Role::Viewer, Err(Error::NoSuchMember)),
        (ADMIN, VIEWER, Role::Admin, changed(VIEWER, Role::Admin)),
        (ADMIN, ADMIN, Role::Viewer, changed(ADMIN, Role::Viewer)),
        (ADMIN, VIEWER, Role::Owner, needs(Role::Owner)),
        (ADMIN, ADMIN, Role::Owner, needs(Role::Owner)),
        (ADMIN, OWNER, Role::Viewer, needs(Role::Owner)),
        (EDITOR, VIEWER, Role::Editor, needs(Role::Admin)),
        (EDITOR, EDITOR, Role::Viewer, needs(Role::Admin)),
        (STRANGER, VIEWER, Role::Editor, Err(Error::NotFound)),
    ] {
        check(staffed(), Command::Change(by, Change::Role(of, role)), then);
    }
    let two = and(staffed(), joined(SECOND, Role::Owner));
    check(two, Command::Change(OWNER, Change::Role(OWNER, Role::Viewer)), changed(OWNER, Role::Viewer));
}

#[test]
fn who_may_leave_and_remove_whom() {
    let left = |user_id| Ok(vec![Event::MemberLeft { user_id }]);
    let removed = |user_id| Ok(vec![Event::MemberRemoved { user_id }]);
    for (by, whom, then) in [
        (OWNER, OWNER, Err(Error::LastOwner)),
        (OWNER, ADMIN, removed(ADMIN)),
        (OWNER, STRANGER, Err(Error::NoSuchMember)),
        (ADMIN, VIEWER, removed(VIEWER)),
        (ADMIN, OWNER, Err(Error::Needs(Role::Owner))),
        (EDITOR, VIEWER, Err(Error::Needs(Role::Admin))),
        (EDITOR, EDITOR, left(EDITOR)),
        (VIEWER, VIEWER, left(VIEWER)),
        (STRANGER, STRANGER, Err(Error::NotFound)),
        (STRANGER, VIEWER, Err(Error::NotFound)),
    ] {
        check(staffed(), Command::Change(by, Change::Remove(whom)), then);
    }
    let two = || and(staffed(), joined(SECOND, Role::Owner));
    check(two(), Command::Change(OWNER, Change::Remove(OWNER)), left(OWNER));
    check(two(), Command::Change(OWNER, Change::Remove(SECOND)), removed(SECOND));
    let gone = and(two(), Event::MemberRemoved { user_id: SECOND });
    check(gone, Command::Change(SECOND, rename("Ajax")), Err(Error::NotFound));
}
