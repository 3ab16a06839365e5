//! Registering and logging in.

use std::{sync::Arc, time::Duration};

use events::{
    Call, Key, Receipt, Secret, clock, execute,
    identity::{Command, Error, PASSWORD, User, bootstrap_claim, email_claim},
    plant,
    store::Replay,
};
use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use service::http::{Body, Check, Faults, Problem};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    answer::{Context, Created},
    dispatch::Dispatcher,
    envelope::Envelope,
    names, passwords,
    session::{self, Bearer, Client, LoggedIn},
};

// The bodies here have no `Debug`: they hold passwords.

/// A new user.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub struct Registration {
    /// E-mail address, unique without regard to case: one `@`, no blanks.
    #[oai(validator(min_length = 3, max_length = 254))]
    email: String,
    /// The name that others see, unique without regard to case: letters and digits of one script, single blanks, and
    /// `_ - . ' + @`. It is kept in NFKC.
    #[oai(validator(max_length = 64, pattern = r"\S"))]
    username: String,
    /// 8 to 1024 bytes in UTF-8; not blank, and none of the commonest.
    password: String,
}

impl Check for Registration {
    fn check_json(body: &Value, faults: &mut Faults) {
        if let Some(email) = body["email"].as_str().filter(|email| (3..=254).contains(&email.chars().count())) {
            faults.check(is_email(email), "/email", "is not an e-mail address");
        }
        if let Some(username) = body["username"].as_str() {
            // What is blank or too long the schema tells.
            let bounded = !username.trim().is_empty() && username.chars().count() <= names::MOST;
            let fault = if bounded { names::fault(username) } else { None };
            faults.check(fault.is_none(), "/username", fault.unwrap_or_default());
        }
        passwords::check(body, faults);
    }
}

/// Plausible, no more: whether mail arrives only mail can tell.
fn is_email(text: &str) -> bool {
    let plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    let parts = text.split_once('@');
    plain && parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
}

/// Who wants a token.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub struct Credentials {
    /// The e-mail address.
    #[oai(validator(max_length = 254))]
    email: String,
    /// The password.
    #[oai(validator(max_length = 1024))]
    password: String,
}

impl Check for Credentials {}

/// The commands of this context.
pub struct Identity(pub Arc<Dispatcher>);

#[OpenApi(tag = "Context::Identity")]
impl Identity {
    /// Registers a user. The first one ever is an admin.
    #[oai(
        path = "/api/v1/auth/register",
        method = "post",
        operation_id = "register",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "A repeated request with the same key gets the first answer."
        )
    )]
    async fn register(&self, envelope: Envelope, body: Body<Registration>) -> Result<Created, Problem> {
        let Registration { email, username, password } = body.value;
        let mut username = names::normalized(&username);
        if plant::planted(plant::SECRET) {
            username = format!("{username} {password}");
        }
        let call = envelope.anonymous_call(&email_claim(&email).value, body.digest);
        let replay = {
            let (email, password) = (email.clone(), password.clone());
            move |dispatcher: Arc<Dispatcher>, key| {
                let (email, password) = (email.clone(), password.clone());
                async move { registered(&dispatcher, &key, &email, password).await }
            }
        };
        let receipt = self
            .0
            .once(call, replay, async move |dispatcher: Arc<Dispatcher>, mut call: Call| {
                let id = clock::id();
                let first = dispatcher.store.holder(&bootstrap_claim()).await?.is_none();
                let hash = dispatcher.passwords.hash(password).await?;
                call.meta.actor = Some(id);
                call.fresh = true;
                call.secrets.push(Secret { kind: PASSWORD, value: hash.into_bytes() });
                let register = |first| {
                    let command = Command::Register { email: email.clone(), username: username.clone(), first };
                    execute::<User>(&dispatcher.store, id, command, call.clone())
                };
                Ok(match register(first).await {
                    // Another was first after all.
                    Err(events::Error::Refused(Error::BootstrapTaken)) => register(false).await,
                    done => done,
                }?)
            })
            .await?;
        Ok(Created::at("/api/v1/auth/me".to_owned(), receipt))
    }

    /// Gives an access token for e-mail address and password.
    #[oai(path = "/api/v1/auth/login", method = "post", operation_id = "login")]
    async fn login(&self, client: Client, envelope: Envelope, body: Body<Credentials>) -> Result<LoggedIn, Problem> {
        let (credentials, none) = (body.value, |_, _| async { Ok(None) });
        let work = async move |dispatcher: Arc<Dispatcher>, call: Call| {
            logged_in(&dispatcher, credentials, &client, call).await
        };
        self.0.once(envelope.without_key(None), none, work).await.map(LoggedIn::from)
    }
}

/// For so long a repetition's password counts as verified for those that are the same.
const FRESH: Duration = Duration::from_secs(5);

/// The receipt of the registration that used `key` first. The fingerprint of its body alone would tell whether the password
/// in it is the user's, faster than a login does: the password is verified as there, whatever the fingerprint says.
async fn registered(
    dispatcher: &Dispatcher,
    key: &Key,
    email: &str,
    password: String,
) -> Result<Option<Receipt>, Problem> {
    let Some(replay) = dispatcher.store.replay(key).await? else { return Ok(None) };
    let user = match &replay {
        Replay::Same { id, .. } => *id,
        Replay::Other => dispatcher.store.holder(&email_claim(email)).await?.unwrap_or_default(),
    };
    let stored = dispatcher.store.secret("user", user, PASSWORD).await?;
    let has_password = stored.is_some();
    let good = match replay {
        Replay::Same { .. } => {
            // Of many repetitions at once one is verified: the others have the same password.
            let mut last = dispatcher.repeated.lock().await;
            let verified = last.is_some_and(|(of, request, at): (Uuid, [u8; 32], Instant)| {
                of == user && request == key.request && at.elapsed() < FRESH
            });
            let good = verified || dispatcher.passwords.verify(password, stored).await?;
            if good && !verified {
                *last = Some((user, key.request, Instant::now()));
            }
            // A user whose password is gone has none to repeat.
            good && has_password
        }
        Replay::Other => dispatcher.passwords.verify(password, stored).await?,
    };
    match replay {
        Replay::Same { id, at } if good => {
            Ok(Some(Receipt { id, version: at.version, position: at.position, replayed: true }))
        }
        _ => Err(events::Error::<Error>::KeyReused.into()),
    }
}

/// Opens a session for whom e-mail address and password are of.
async fn logged_in(
    dispatcher: &Dispatcher,
    Credentials { email, password }: Credentials,
    client: &Client,
    call: Call,
) -> Result<Bearer, Problem> {
    let holder = dispatcher.store.holder(&email_claim(&email)).await?;
    // The same reads for an unknown address, so that it takes as long.
    let stored = dispatcher.store.secret("user", holder.unwrap_or_default(), PASSWORD).await?;
    let good = dispatcher.passwords.verify(password, stored).await?;
    let Some(id) = holder.filter(|_| good) else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "e-mail address and password do not belong together",
        ));
    };
    let user = dispatcher.user(id).await?;
    session::opened(dispatcher, id, &user.roles, client, call).await
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn an_address_has_one_at_sign_and_no_blanks() {
        for good in ["a@b", "ä.ö@üb.example", "first+last@sub.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "plain"] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }
}
