//! Who the users are. A password is never part of an event: its hash goes into the log's private table, in the
//! transaction of the event (see [`crate::Call::secrets`]).

pub mod row;

use cqrs_es::{Aggregate, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Claim, Context, EventStream, Fact, Stream};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "identity",
    doc: "Who the users are.",
    streams: &[EventStream::of::<User>()],
    projections: &["identity"],
    actions: &[],
};

/// The role that may write the catalogue and see everything.
pub const ADMIN: &str = "admin";

/// The kind of [`crate::Secret`] that holds a user's password hash (PHC string).
pub const PASSWORD: &str = "password";

/// The claim on an e-mail address, compared without regard to case.
pub fn email_claim(email: &str) -> Claim {
    Claim::folded("email", email)
}

/// The claim that only the first user ever gets, and that makes an admin.
pub fn bootstrap_claim() -> Claim {
    Claim::folded("bootstrap", ADMIN)
}

/// What can be asked of a user.
#[derive(Debug, Clone)]
pub enum Command {
    /// Makes the user.
    Register {
        /// Where mail goes; unique.
        email: String,
        /// The name that others see; unique.
        username: String,
        /// Whether this is to be the first user, and so an admin. Refused as [`Error::BootstrapTaken`] when it is not.
        first: bool,
    },
    /// Gives the user another password, whose hash goes with the call.
    ChangePassword,
}

/// What happened to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The user exists from now on.
    UserRegistered {
        /// Where mail goes.
        email: String,
        /// The name that others see.
        username: String,
        /// What the user may do beyond what all may.
        #[serde(default)]
        roles: Vec<String>,
    },
    /// The user has another password.
    PasswordChanged {},
}

impl Fact for Event {
    fn claims(&self, _: Uuid) -> Vec<Claim> {
        match self {
            Self::UserRegistered { email, username, roles } => {
                let mut claims =
                    vec![email_claim(email).in_slot("email"), Claim::folded("username", username).in_slot("username")];
                // Only the bootstrap registers somebody who is an admin from the start.
                if roles.iter().any(|role| role == ADMIN) {
                    claims.push(bootstrap_claim());
                }
                claims
            }
            Self::PasswordChanged {} => Vec::new(),
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, derive::DomainError)]
pub enum Error {
    /// There is no such user.
    #[error("there is no such user")]
    #[refusal(NotFound, "not_found")]
    NotFound,
    /// The user exists already.
    #[error("the user exists already")]
    #[refusal(Conflict, "user_exists")]
    Exists,
    /// Somebody has this e-mail address.
    #[error("the e-mail address is taken")]
    #[refusal(Conflict, "email_taken", at("/email", "is taken"), taken("email"))]
    EmailTaken,
    /// Somebody has this name.
    #[error("the user name is taken")]
    #[refusal(Conflict, "username_taken", at("/username", "is taken"), taken("username"))]
    UsernameTaken,
    /// There is a first user already.
    #[error("there is a first user already")]
    #[refusal(Conflict, "bootstrap_taken", taken)]
    BootstrapTaken,
}

/// A user, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user exists.
    pub registered: bool,
    /// What the user may do beyond what all may.
    pub roles: Vec<String>,
}

impl User {
    /// Whether the user may write the catalogue and see everything.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == ADMIN)
    }

    fn decide(&self, command: Command) -> Result<Event, Error> {
        match command {
            Command::Register { .. } if self.registered => Err(Error::Exists),
            Command::Register { email, username, first } => {
                let roles = if first { vec![ADMIN.to_owned()] } else { Vec::new() };
                Ok(Event::UserRegistered { email, username, roles })
            }
            Command::ChangePassword if !self.registered => Err(Error::NotFound),
            Command::ChangePassword => Ok(Event::PasswordChanged {}),
        }
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        let event = self.decide(command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::UserRegistered { roles, .. } => {
                self.registered = true;
                self.roles = roles;
            }
            Event::PasswordChanged {} => {}
        }
    }
}

impl Stream for User {
    /// A user's personal tenant has the user's id.
    fn scope(&self, id: Uuid) -> Option<Uuid> {
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::{ADMIN, Command, Error, Event, User};
    use crate::{Claim, Fact, Refusal};

    fn register(first: bool) -> Command {
        Command::Register { email: "Ann@Example.com".to_owned(), username: "Ann".to_owned(), first }
    }

    fn registered(roles: &[&str]) -> Event {
        let roles = roles.iter().map(|&role| role.to_owned()).collect();
        Event::UserRegistered { email: "Ann@Example.com".to_owned(), username: "Ann".to_owned(), roles }
    }

    #[test]
    fn a_user_is_registered_once_and_the_first_is_an_admin() {
        let framework = || TestFramework::<User>::with(());
        framework().given(vec![]).when(register(false)).then_expect_events(vec![registered(&[])]);
        framework().given(vec![]).when(register(true)).then_expect_events(vec![registered(&[ADMIN])]);
        framework().given(vec![registered(&[])]).when(register(false)).then_expect_error(Error::Exists);
        framework().given(vec![]).when(Command::ChangePassword).then_expect_error(Error::NotFound);
        let changed = vec![Event::PasswordChanged {}];
        framework().given(vec![registered(&[])]).when(Command::ChangePassword).then_expect_events(changed);
    }

    #[test]
    fn claims_do_not_regard_case_and_only_an_admin_claims_the_bootstrap() {
        let claims = |roles: &[&str]| -> Vec<(String, String)> {
            registered(roles).claims(uuid::Uuid::nil()).into_iter().map(|c| (c.scope, c.value)).collect()
        };
        let own = [("email", "ann@example.com"), ("username", "ann"), ("bootstrap", "admin")];
        let own = own.map(|(scope, value)| (scope.to_owned(), value.to_owned()));
        assert_eq!(claims(&[]), own[..2]);
        assert_eq!(claims(&["editor"]), own[..2]);
        assert_eq!(claims(&[ADMIN]), own);
        for (scope, code) in
            [("email", "email_taken"), ("username", "username_taken"), ("bootstrap", "bootstrap_taken")]
        {
            assert_eq!(Error::taken(&Claim::folded(scope, "x")).code(), code);
        }
        assert_eq!(Claim::folded("email", " ÄB@x ").value, "äb@x");
    }
}
