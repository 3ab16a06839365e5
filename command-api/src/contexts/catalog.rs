//! Writing the shared catalogue, which only admins may.

use events::catalog::{
    NewSpecialty, NewSubSpecialty, Specialty, SpecialtyChanges, SpecialtyCommand, SubSpecialty, SubSpecialtyChanges,
    SubSpecialtyCommand,
};
use poem::http::Uri;
use serde_json::Value;
use service::http::Faults;

use crate::entity::{Entity, Nothing, Operation, Owner};

/// The commands of this context.
pub fn operations() -> Vec<Operation> {
    let specialties = Entity::<Specialty>::new("/api/v1/specialties", "Catalog", Owner::System)
        .requiring(Specialty::requirements)
        .create("create_specialty", "Makes a specialty. Needs the role `admin`.", |new: NewSpecialty, _| {
            SpecialtyCommand::Create(new)
        })
        .checked(icon_is_on_the_web)
        .change(
            "change_specialty",
            "Changes a specialty: what is left out stays. Needs the role `admin`.",
            |changes: SpecialtyChanges| SpecialtyCommand::Change(changes),
        )
        .checked(icon_is_on_the_web)
        .transition(
            "archive",
            "archive_specialty",
            "Archives a specialty that has no live sub-specialties, which frees its name. Needs the role `admin`.",
            |Nothing {}| SpecialtyCommand::Archive,
        );
    let sub_specialties = Entity::<SubSpecialty>::new("/api/v1/sub-specialties", "Catalog", Owner::System)
        .requiring(SubSpecialty::requirements)
        .create("create_sub_specialty", "Makes a sub-specialty. Needs the role `admin`.", |new: NewSubSpecialty, _| {
            SubSpecialtyCommand::Create(new)
        })
        .change(
            "change_sub_specialty",
            "Changes a sub-specialty: what is left out stays. Needs the role `admin`.",
            |changes: SubSpecialtyChanges| SubSpecialtyCommand::Change(changes),
        )
        .transition(
            "archive",
            "archive_sub_specialty",
            "Archives a sub-specialty, which frees its name. Needs the role `admin`.",
            |Nothing {}| SubSpecialtyCommand::Archive,
        );
    specialties.operations().into_iter().chain(sub_specialties.operations()).collect()
}

fn icon_is_on_the_web(body: &Value, faults: &mut Faults) {
    if let Some(url) = body["icon_url"].as_str() {
        faults.check(is_web_url(url), "/icon_url", "must be an http or https URL");
    }
}

fn is_web_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let web = uri.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
    web && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_web_url;

    #[test]
    fn an_icon_is_on_the_web() {
        for good in ["https://example.com/icon.svg", "http://localhost:8080/?a=b", "HTTPS://example.com"] {
            assert!(is_web_url(good), "{good}");
        }
        for bad in ["", "/icon.svg", "javascript:alert(1)", "ftp://example.com/a", "data:,", "https://", "a b"] {
            assert!(!is_web_url(bad), "{bad}");
        }
    }
}
