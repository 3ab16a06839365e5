//! Writing the shared catalogue, which only admins may.

use std::sync::Arc;

use events::{
    catalog::{Specialty, SpecialtyCommand, SubSpecialty, SubSpecialtyCommand},
    clock, execute,
};
use poem::http::Uri;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use service::http::{Body, Caller, Check, Faults, Problem};
use uuid::Uuid;

use crate::{
    answer::{Context, Created},
    dispatch::Dispatcher,
    envelope::Envelope,
};

/// A new specialty.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewSpecialty {
    /// Unique without regard to case.
    #[oai(validator(max_length = 100, pattern = r"\S"))]
    name: String,
    /// For people.
    #[oai(validator(max_length = 10_000))]
    description: String,
    /// Where its icon is: an http or https URL.
    #[oai(validator(max_length = 2048))]
    icon_url: Option<String>,
}

impl Check for NewSpecialty {
    fn check_json(body: &Value, faults: &mut Faults) {
        if let Some(url) = body["icon_url"].as_str() {
            faults.check(is_web_url(url), "/icon_url", "must be an http or https URL");
        }
    }
}

fn is_web_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let web = uri.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
    web && uri.host().is_some_and(|host| !host.is_empty())
}

/// A new sub-specialty.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub struct NewSubSpecialty {
    /// The specialty that it is part of.
    specialty_id: Uuid,
    /// Unique in its specialty, without regard to case.
    #[oai(validator(max_length = 100, pattern = r"\S"))]
    name: String,
    /// For people.
    #[oai(validator(max_length = 10_000))]
    description: String,
}

impl Check for NewSubSpecialty {}

/// The commands of this context.
pub struct Catalog(pub Arc<Dispatcher>);

#[OpenApi(
    tag = "Context::Catalog",
    request_header(
        name = "Idempotency-Key",
        ty = "Option<String>",
        description = "A repeated request with the same key gets the first answer."
    )
)]
impl Catalog {
    /// Makes a specialty. Needs the role `admin`.
    #[oai(path = "/api/v1/specialties", method = "post", operation_id = "create_specialty")]
    async fn create_specialty(
        &self,
        caller: Caller,
        envelope: Envelope,
        body: Body<NewSpecialty>,
    ) -> Result<Created, Problem> {
        let NewSpecialty { name, description, icon_url } = body.value;
        let command = SpecialtyCommand::Create { name: name.trim().to_owned(), description, icon_url };
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, mut call| {
                dispatcher.need_admin(caller.id).await?;
                call.fresh = true;
                Ok(execute::<Specialty>(&dispatcher.store, clock::id(), command, call).await?)
            })
            .await?;
        Ok(Created::within("/api/v1/specialties", receipt))
    }

    /// Makes a sub-specialty. Needs the role `admin`.
    #[oai(path = "/api/v1/sub-specialties", method = "post", operation_id = "create_sub_specialty")]
    async fn create_sub_specialty(
        &self,
        caller: Caller,
        envelope: Envelope,
        body: Body<NewSubSpecialty>,
    ) -> Result<Created, Problem> {
        let NewSubSpecialty { specialty_id, name, description } = body.value;
        let call = envelope.call(caller.id, body.digest);
        let receipt = self
            .0
            .run(call, async move |dispatcher: Arc<Dispatcher>, mut call| {
                dispatcher.need_admin(caller.id).await?;
                let specialty = dispatcher.store.load::<Specialty>(specialty_id).await?;
                let command = SubSpecialtyCommand::Create {
                    specialty_id,
                    specialty_exists: specialty.aggregate.created,
                    name: name.trim().to_owned(),
                    description,
                };
                call.fresh = true;
                Ok(execute::<SubSpecialty>(&dispatcher.store, clock::id(), command, call).await?)
            })
            .await?;
        Ok(Created::within("/api/v1/sub-specialties", receipt))
    }
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
