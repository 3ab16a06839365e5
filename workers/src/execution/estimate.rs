//! How many tokens a text is likely to be, where its provider does not say: one for each four ASCII characters, and one for each
//! other character. English takes a little less, code and most other scripts take about as much; no two models count alike.

use events::execution::{Answer, Request, Usage};

/// What the frame of a message takes.
const FRAME_TOKENS: u64 = 4;

/// The usage with an estimate in place of what the provider did not count, and whether there is one.
pub(super) fn complete(usage: Usage, request: &Request, answer: &Answer) -> (Usage, bool) {
    if usage.input_tokens.is_some() && usage.output_tokens.is_some() {
        return (usage, false);
    }
    let input = || request.messages.iter().map(|message| FRAME_TOKENS + tokens(&message.content)).sum();
    let output = || {
        let calls = answer.tool_calls.iter().map(|call| tokens(&call.function.name) + tokens(&call.function.arguments));
        tokens(&answer.result) + tokens(answer.reasoning.as_deref().unwrap_or_default()) + calls.sum::<u64>()
    };
    let input_tokens = usage.input_tokens.or_else(|| Some(input()));
    let output_tokens = usage.output_tokens.or_else(|| Some(output()));
    (Usage { input_tokens, output_tokens, ..usage }, true)
}

fn tokens(text: &str) -> u64 {
    let others = text.chars().filter(|c| !c.is_ascii()).count();
    let ascii = text.bytes().filter(u8::is_ascii).count();
    (others + ascii.div_ceil(4)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_estimated_by_its_characters() {
        for (text, estimate) in [("", 0), ("a", 1), ("Hello, Ada", 3), ("日本語", 3), ("né", 2)] {
            assert_eq!(tokens(text), estimate, "{text}");
        }
    }
}
