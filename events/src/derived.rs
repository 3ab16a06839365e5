//! What stands beside the log because an event of any context says so, derived from what the log has of it: what brings a log
//! in from elsewhere needs it again.

use uuid::Uuid;

use crate::{
    Claim, Fact, Timer,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
    execution, identity,
    store::StoreError,
};

/// What follows from one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// What it claims for its thing.
    pub claims: Vec<Claim>,
    /// What it does to its thing's timer.
    pub timer: Option<Timer>,
}

/// Why what follows from an event is not known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// No context of this program has such a stream.
    #[error("this program knows no stream {0}: use the program of the version that wrote it")]
    Stream(String),
    /// The event cannot be read.
    #[error("{0} ({source}): use the program of the version that wrote it", source = std::error::Error::source(.0).map(ToString::to_string).unwrap_or_default())]
    Event(#[from] StoreError),
}

/// What follows from the event at `position`, by itself. Events of streams of which nothing follows are not read.
pub fn of(position: i64, stream: &str, id: Uuid, kind: &str, data: &str) -> Result<Derived, Unknown> {
    match stream {
        "user" => read::<identity::Event>(position, id, kind, data),
        "specialty" => read::<SpecialtyEvent>(position, id, kind, data),
        "sub_specialty" => read::<SubSpecialtyEvent>(position, id, kind, data),
        "execution" => read::<execution::Event>(position, id, kind, data),
        "prompt" | "ops" => Ok(Derived::default()),
        other => Err(Unknown::Stream(other.to_owned())),
    }
}

fn read<E: Fact>(position: i64, id: Uuid, kind: &str, data: &str) -> Result<Derived, Unknown> {
    let event = crate::store::decode::<E>(position, kind, data)?;
    Ok(Derived { claims: event.claims(id), timer: event.timer() })
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate as _;

    use super::*;
    use crate::{catalog, ops, prompt};

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn every_stream_is_known_and_what_follows_is_what_its_events_say() {
        let data = r#"{"email":"Ada@Example.com ","username":"Ada","roles":["admin"]}"#;
        let claims = of(1, identity::User::TYPE, ID, "user_registered", data).unwrap().claims;
        let event = identity::Event::UserRegistered {
            email: "Ada@Example.com ".to_owned(),
            username: "Ada".to_owned(),
            roles: vec!["admin".to_owned()],
        };
        assert_eq!(claims, event.claims(ID));
        let data = r#"{"name":"Cardiology","description":"The heart"}"#;
        assert_eq!(of(2, catalog::Specialty::TYPE, ID, "specialty_created", data).unwrap().claims.len(), 1);
        let data =
            r#"{"specialty_id":"00000000-0000-7000-8000-000000000000","name":"Rhythm","description":"Its beat"}"#;
        assert_eq!(of(3, catalog::SubSpecialty::TYPE, ID, "sub_specialty_created", data).unwrap().claims.len(), 1);
        let started = r#"{"attempt":2,"worker":"w","token":"00000000-0000-7000-8000-000000000007","lease_ms":15000}"#;
        let derived = of(4, execution::Execution::TYPE, ID, "execution_started", started).unwrap();
        let holder = Some("00000000-0000-7000-8000-000000000007".parse().unwrap());
        let timer = Some(Timer::Set { after: Some(15_000), deadline: None, holder, mark: 2 });
        assert_eq!(derived, Derived { claims: Vec::new(), timer });
        for stream in [prompt::Prompt::TYPE, ops::Projection::TYPE] {
            assert_eq!(of(4, stream, ID, "anything", "{}").unwrap(), Derived::default());
        }
        let unknown = of(5, "weather", ID, "rained", "{}").unwrap_err().to_string();
        assert!(unknown.contains("no stream weather"), "{unknown}");
        let unreadable = of(6, "user", ID, "user_vanished", "{}").unwrap_err().to_string();
        assert!(unreadable.contains("event 6 of kind user_vanished"), "{unreadable}");
    }
}
