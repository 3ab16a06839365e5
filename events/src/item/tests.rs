//! The rules of items as tables.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Command, Error, Event, Item, ItemChanges, NewItem};
use crate::Patch;

const TENANT: Uuid = Uuid::from_u128(1);

fn text(text: &str) -> String {
    text.to_owned()
}

fn create(name: &str) -> Command {
    Command::Create(TENANT, NewItem { name: text(name), note: None })
}

fn change(name: Patch<&str>, note: Patch<Option<&str>>) -> Command {
    Command::Change(ItemChanges { name: name.map(text), note: note.map(|note| note.map(text)) })
}

fn created() -> Event {
    Event::ItemCreated { tenant_id: TENANT, name: text("Tea"), note: Some(text("Green")) }
}

fn changed(name: Patch<&str>, note: Patch<Option<&str>>) -> Event {
    let changes = ItemChanges { name: name.map(text), note: note.map(|note| note.map(text)) };
    Event::ItemChanged { tenant_id: TENANT, changes }
}

#[test]
fn an_item_is_made_changed_and_archived() {
    use Patch::{Set, Stays};
    let archived = || vec![created(), Event::ItemArchived {}];
    for (given, when, then) in [
        (vec![], create(" Tea "), Ok(vec![Event::ItemCreated { tenant_id: TENANT, name: text("Tea"), note: None }])),
        (vec![], Command::Archive, Err(Error::NotFound)),
        (vec![created()], create("Tea"), Err(Error::Exists)),
        (vec![created()], change(Set("Mate"), Stays), Ok(vec![changed(Set("Mate"), Stays)])),
        (vec![created()], change(Set(" Tea "), Set(None)), Ok(vec![changed(Stays, Set(None))])),
        (vec![created()], change(Set("Tea"), Set(Some("Green"))), Ok(vec![])),
        (vec![created()], Command::Archive, Ok(vec![Event::ItemArchived {}])),
        (archived(), Command::Archive, Ok(vec![])),
        (archived(), change(Set("Mate"), Stays), Err(Error::Archived)),
    ] {
        let test = TestFramework::<Item>::with(()).given(given).when(when);
        match then {
            Ok(events) => test.then_expect_events(events),
            Err(error) => test.then_expect_error(error),
        }
    }
}
