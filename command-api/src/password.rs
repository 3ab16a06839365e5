//! Changing a password.

use std::sync::Arc;

use events::{
    Call, Secret, execute,
    identity::{Command, PASSWORD, User},
    session::Reason,
};
use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use service::http::{Body, Caller, Check, Faults, Problem};

use crate::{
    answer::{Changed, Context},
    dispatch::Dispatcher,
    envelope::Envelope,
    passwords, session,
};

// No `Debug`: it holds passwords.
/// A password in the place of another.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub struct PasswordChange {
    /// The password up to now.
    #[oai(validator(max_length = 1024))]
    old_password: String,
    /// 8 to 1024 bytes in UTF-8; not blank, and none of the commonest.
    password: String,
}

impl Check for PasswordChange {
    fn check_json(body: &Value, faults: &mut Faults) {
        passwords::check(body, faults);
    }
}

/// The commands about passwords.
pub struct PasswordChanges(pub Arc<Dispatcher>);

#[OpenApi(tag = "Context::Identity")]
impl PasswordChanges {
    /// Gives the caller another password, and closes all their sessions but this one.
    #[oai(path = "/api/v1/auth/password/change", method = "post", operation_id = "change_password")]
    async fn change(&self, caller: Caller, envelope: Envelope, body: Body<PasswordChange>) -> Result<Changed, Problem> {
        let PasswordChange { old_password, password } = body.value;
        let work = async move |dispatcher: Arc<Dispatcher>, mut call: Call| {
            let stored = dispatcher.store.secret("user", caller.id, PASSWORD).await?;
            if !dispatcher.passwords.verify(old_password, stored).await? {
                let detail = "the old password is another one";
                return Err(Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", detail));
            }
            let hash = dispatcher.passwords.hash(password).await?;
            let meta = call.meta.clone();
            let close = || session::close_all(&dispatcher, caller.id, caller.session, Reason::PasswordChanged, &meta);
            // Before, so that a crash between the two leaves none open under the new password; and after, for what was opened
            // with the old one meanwhile.
            close().await?;
            call.secrets.push(Secret { kind: PASSWORD, value: hash.into_bytes() });
            let receipt = execute::<User>(&dispatcher.store, caller.id, Command::ChangePassword, call).await?;
            close().await?;
            Ok(receipt)
        };
        let receipt = self.0.run(envelope.without_key(Some(caller.id)), work).await?;
        Ok(Changed::at("/api/v1/auth/me".to_owned(), receipt))
    }
}
