//! `echo`: needs no key and no network, answers with the rendered prompt, and costs nothing. For a first try, for tests,
//! and for measuring everything but the model.

use events::{
    execution::{Request, Usage},
    model::Role,
};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{Draft, Ending, Failure, LlmProvider};

pub(super) struct Echo;

impl LlmProvider for Echo {
    fn answer<'a>(&'a self, request: &'a Request, draft: &'a Draft) -> BoxFuture<'a, Result<Ending, Failure>> {
        std::future::ready(say(request, draft)).boxed()
    }
}

fn say(request: &Request, draft: &Draft) -> Result<Ending, Failure> {
    let said = request.messages.iter().filter(|message| message.role == Role::User);
    for (n, message) in said.enumerate() {
        let between = if n > 0 { "\n" } else { "" };
        for piece in [between, &message.content] {
            draft.push(piece).map_err(|_| Failure::too_large("echo"))?;
        }
    }
    // No model has counted anything, so nothing was used.
    let usage = Usage { input_tokens: Some(0), output_tokens: Some(0), ..Usage::default() };
    Ok(Ending { usage, finish_reason: Some("echo, no model".to_owned()), ..Ending::default() })
}
