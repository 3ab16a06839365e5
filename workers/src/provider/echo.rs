//! `echo`: needs no key and no network, answers with the rendered prompt, and costs nothing. For a first try, for tests,
//! and for measuring everything but the model.

use events::{
    execution::{Request, Usage},
    model::Role,
};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{Completion, Failure, LlmProvider};

pub(super) struct Echo;

impl LlmProvider for Echo {
    fn answer<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Completion, Failure>> {
        let said = |role: Role| request.messages.iter().filter(move |message| message.role == role);
        let text = said(Role::User).map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n");
        // No model has counted anything, so nothing was used.
        let usage = Usage { input_tokens: Some(0), output_tokens: Some(0), ..Usage::default() };
        let finish_reason = Some("echo, no model".to_owned());
        std::future::ready(Ok(Completion { text, usage, finish_reason, response_id: None })).boxed()
    }
}
