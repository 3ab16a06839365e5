//! The rules of the catalogue as tables.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{Error, Specialty, SpecialtyCommand, SpecialtyEvent, SubSpecialty, SubSpecialtyCommand, SubSpecialtyEvent};
use crate::{Claim, Class, Fact, Refusal, Stream};

const PARENT: Uuid = Uuid::from_u128(1);

#[test]
fn a_specialty_is_made_once() {
    let name = || "Cardiology".to_owned();
    let create = || SpecialtyCommand::Create { name: name(), description: String::new(), icon_url: None };
    let created = || SpecialtyEvent::SpecialtyCreated { name: name(), description: String::new(), icon_url: None };
    TestFramework::<Specialty>::with(()).given(vec![]).when(create()).then_expect_events(vec![created()]);
    TestFramework::<Specialty>::with(()).given(vec![created()]).when(create()).then_expect_error(Error::Exists);
    assert_eq!(
        created().claims(Uuid::nil()),
        [Claim { scope: "specialty".to_owned(), value: "cardiology".to_owned() }]
    );
    assert_eq!(Specialty::default().scope(PARENT), None, "the catalogue is shared");
}

#[test]
fn a_sub_specialty_is_made_once_in_a_specialty_that_exists() {
    let create = |specialty_exists| SubSpecialtyCommand::Create {
        specialty_id: PARENT,
        specialty_exists,
        name: "Rhythm".to_owned(),
        description: String::new(),
    };
    let created = |specialty_id| SubSpecialtyEvent::SubSpecialtyCreated {
        specialty_id,
        name: "Rhythm".to_owned(),
        description: String::new(),
    };
    let framework = || TestFramework::<SubSpecialty>::with(());
    framework().given(vec![]).when(create(true)).then_expect_events(vec![created(PARENT)]);
    framework().given(vec![]).when(create(false)).then_expect_error(Error::NoSuchSpecialty);
    framework().given(vec![created(PARENT)]).when(create(true)).then_expect_error(Error::Exists);
    // Its name is unique in its specialty, and free in another.
    assert_ne!(created(PARENT).claims(Uuid::nil()), created(Uuid::from_u128(2)).claims(Uuid::nil()));
    assert_eq!(created(PARENT).claims(Uuid::nil())[0].value, "rhythm");
}

#[test]
fn each_refusal_has_a_class_a_code_and_its_field() {
    let claim = Claim::folded("specialty", "x");
    for (error, class, code, field) in [
        (Error::Exists, Class::Conflict, "exists", None),
        (Error::taken(&claim), Class::Conflict, "name_taken", Some("/name")),
        (Error::NoSuchSpecialty, Class::Invalid, "no_such_specialty", Some("/specialty_id")),
    ] {
        let pointer = error.faults().first().map(|fault| fault.pointer.clone());
        assert_eq!((error.class(), error.code(), pointer.as_deref()), (class, code, field));
    }
}
