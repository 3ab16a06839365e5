//! The rules of the catalogue as tables.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    Error, NewSpecialty, NewSubSpecialty, Specialty, SpecialtyChanges, SpecialtyCommand, SpecialtyEvent, SubSpecialty,
    SubSpecialtyChanges, SubSpecialtyCommand, SubSpecialtyEvent,
};
use crate::{Claim, Class, Fact, Patch, Refusal, Stream};

const PARENT: Uuid = Uuid::from_u128(1);
const ID: Uuid = Uuid::from_u128(2);

fn text(text: &str) -> String {
    text.to_owned()
}

fn created() -> SpecialtyEvent {
    SpecialtyEvent::SpecialtyCreated { name: text("Heart"), description: text("It beats"), icon_url: None }
}

fn changes(name: Patch<&str>, icon_url: Patch<Option<&str>>) -> SpecialtyChanges {
    let icon_url = icon_url.map(|url| url.map(text));
    SpecialtyChanges { name: name.map(text), description: Patch::Stays, icon_url }
}

#[test]
fn a_specialty_is_made_once_changed_and_archived() {
    use Patch::{Set, Stays};
    use SpecialtyCommand::{Archive, Change, Create};
    let new = || NewSpecialty { name: text(" Heart "), description: text("It beats"), icon_url: None };
    let changed = |name, icon| SpecialtyEvent::SpecialtyChanged(changes(name, icon));
    let archived = || vec![created(), SpecialtyEvent::SpecialtyArchived {}];
    for (given, when, then) in [
        (vec![], Create(new()), Ok(vec![created()])),
        (vec![], Archive, Err(Error::NotFound)),
        (vec![], Change(changes(Set("x"), Stays)), Err(Error::NotFound)),
        (vec![created()], Create(new()), Err(Error::Exists)),
        (
            vec![created()],
            Change(changes(Set("Cor"), Set(Some("http://a")))),
            Ok(vec![changed(Set("Cor"), Set(Some("http://a")))]),
        ),
        (vec![created()], Change(changes(Set("Heart "), Set(None))), Ok(vec![])),
        (vec![created()], Archive, Ok(vec![SpecialtyEvent::SpecialtyArchived {}])),
        (archived(), Archive, Ok(vec![])),
        (archived(), Change(changes(Set("Cor"), Stays)), Err(Error::Archived)),
    ] {
        let test = TestFramework::<Specialty>::with(()).given(given).when(when);
        match then {
            Ok(events) => test.then_expect_events(events),
            Err(error) => test.then_expect_error(error),
        }
    }
    assert_eq!(Specialty::default().scope(PARENT), None, "the catalogue is shared");
}

#[test]
fn a_sub_specialty_is_made_once_changed_and_archived() {
    use SubSpecialtyCommand::{Archive, Change, Create};
    let new = || NewSubSpecialty { specialty_id: PARENT, name: text("Beat"), description: text("") };
    let created =
        || SubSpecialtyEvent::SubSpecialtyCreated { specialty_id: PARENT, name: text("Beat"), description: text("") };
    let change = |name: &str| SubSpecialtyChanges { name: Patch::Set(text(name)), description: Patch::Stays };
    let changed = |name| SubSpecialtyEvent::SubSpecialtyChanged { specialty_id: PARENT, changes: change(name) };
    let archived = || vec![created(), SubSpecialtyEvent::SubSpecialtyArchived {}];
    for (given, when, then) in [
        (vec![], Create(new()), Ok(vec![created()])),
        (vec![], Archive, Err(Error::NotFound)),
        (vec![created()], Create(new()), Err(Error::Exists)),
        (vec![created()], Change(change("Rhythm")), Ok(vec![changed("Rhythm")])),
        (vec![created()], Change(change("Beat")), Ok(vec![])),
        (vec![created()], Archive, Ok(vec![SubSpecialtyEvent::SubSpecialtyArchived {}])),
        (archived(), Archive, Ok(vec![])),
        (archived(), Change(change("Rhythm")), Err(Error::Archived)),
    ] {
        let test = TestFramework::<SubSpecialty>::with(()).given(given).when(when);
        match then {
            Ok(events) => test.then_expect_events(events),
            Err(error) => test.then_expect_error(error),
        }
    }
}

#[test]
fn names_are_held_until_they_change_or_their_thing_is_archived() {
    let name = |value| Claim::exact("specialty", value).in_slot("name");
    assert_eq!(created().claims(ID), [name("heart")]);
    assert_eq!(SpecialtyEvent::SpecialtyChanged(changes(Patch::Set("Cor"), Patch::Stays)).claims(ID), [name("cor")]);
    assert_eq!(SpecialtyEvent::SpecialtyChanged(changes(Patch::Stays, Patch::Set(None))).claims(ID), []);
    assert_eq!(SpecialtyEvent::SpecialtyArchived {}.releases(), ["name"]);
    let created =
        SubSpecialtyEvent::SubSpecialtyCreated { specialty_id: PARENT, name: text("Beat"), description: text("") };
    let own = [
        Claim::exact(format!("sub_specialty:{PARENT}"), "beat").in_slot("name"),
        Claim::exact(format!("specialty:{PARENT}:children"), ID.to_string()).in_slot("parent"),
    ];
    assert_eq!(created.claims(ID), own);
    assert_eq!(SubSpecialtyEvent::SubSpecialtyArchived {}.releases(), ["name", "parent"]);
}

#[test]
fn each_refusal_has_a_class_a_code_and_its_field() {
    let claim = Claim::folded("specialty", "x");
    for (error, class, code, field) in [
        (Error::Exists, Class::Conflict, "exists", None),
        (Error::taken(&claim), Class::Conflict, "name_taken", Some("/name")),
        (Error::NoSuchSpecialty, Class::Invalid, "no_such_specialty", Some("/specialty_id")),
        (Error::HasLiveChildren, Class::Conflict, "has_live_children", None),
    ] {
        let pointer = error.faults().first().map(|fault| fault.pointer.clone());
        assert_eq!((error.class(), error.code(), pointer.as_deref()), (class, code, field));
    }
}
