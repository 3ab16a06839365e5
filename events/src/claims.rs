//! The claims that an event of any context makes, derived from what the log has of it: what brings a log in from elsewhere
//! needs them again.

use crate::{
    Claim, Fact,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
    identity,
    store::StoreError,
};

/// Why the claims of an event are not known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// No context of this program has such a stream.
    #[error("this program knows no stream {0}: use the program of the version that wrote it")]
    Stream(String),
    /// The event cannot be read.
    #[error("{0} ({source}): use the program of the version that wrote it", source = std::error::Error::source(.0).map(ToString::to_string).unwrap_or_default())]
    Event(#[from] StoreError),
}

/// What the event at `position` claims for its thing: a pure function of the event. Events of streams that never claim anything
/// are not read.
pub fn of(position: i64, stream: &str, kind: &str, data: &str) -> Result<Vec<Claim>, Unknown> {
    match stream {
        "user" => claimed::<identity::Event>(position, kind, data),
        "specialty" => claimed::<SpecialtyEvent>(position, kind, data),
        "sub_specialty" => claimed::<SubSpecialtyEvent>(position, kind, data),
        "prompt" | "execution" | "ops" => Ok(Vec::new()),
        other => Err(Unknown::Stream(other.to_owned())),
    }
}

fn claimed<E: Fact>(position: i64, kind: &str, data: &str) -> Result<Vec<Claim>, Unknown> {
    Ok(crate::store::decode::<E>(position, kind, data)?.claims())
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate as _;

    use super::*;
    use crate::{catalog, execution, ops, prompt};

    #[test]
    fn every_stream_is_known_and_claims_what_its_events_claim() {
        let data = r#"{"email":"Ada@Example.com ","username":"Ada","roles":["admin"]}"#;
        let claims = of(1, identity::User::TYPE, "user_registered", data).unwrap();
        let event = identity::Event::UserRegistered {
            email: "Ada@Example.com ".to_owned(),
            username: "Ada".to_owned(),
            roles: vec!["admin".to_owned()],
        };
        assert_eq!(claims, event.claims());
        let data = r#"{"name":"Cardiology","description":"The heart"}"#;
        assert_eq!(of(2, catalog::Specialty::TYPE, "specialty_created", data).unwrap().len(), 1);
        let data =
            r#"{"specialty_id":"00000000-0000-7000-8000-000000000000","name":"Rhythm","description":"Its beat"}"#;
        assert_eq!(of(3, catalog::SubSpecialty::TYPE, "sub_specialty_created", data).unwrap().len(), 1);
        for stream in [prompt::Prompt::TYPE, execution::Execution::TYPE, ops::Projection::TYPE] {
            assert_eq!(of(4, stream, "anything", "{}").unwrap(), []);
        }
        let unknown = of(5, "weather", "rained", "{}").unwrap_err().to_string();
        assert!(unknown.contains("no stream weather"), "{unknown}");
        let unreadable = of(6, "user", "user_vanished", "{}").unwrap_err().to_string();
        assert!(unreadable.contains("event 6 of kind user_vanished"), "{unreadable}");
    }
}
