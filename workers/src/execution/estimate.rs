//! How many tokens a text is likely to be, where its provider does not say: one for each four ASCII characters, and one for each
//! other character. English takes a little less, code and most other scripts take about as much; no two models count alike.

use events::execution::{Answer, Request, Usage};

use crate::provider::Told;

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

/// What is known of a call that brought no answer but some of its `text`, and whether it is estimated. What was told, if nothing of
/// the answer came after that; if something did, and the provider itself has `ended` the call, no less than what came; else nobody
/// knows what it went on to make.
pub(super) fn broken(told: Told, text: &str, ended: bool) -> (Told, bool) {
    let Usage { input_tokens, output_tokens, .. } = told.usage;
    let counted = input_tokens.is_some_and(|input| input > 0) && output_tokens.is_some();
    if counted && !told.outdated {
        return (told, false);
    }
    let came = tokens(text) + told.beside.div_ceil(4) as u64;
    let output_tokens = output_tokens.map(|output| output.max(came)).filter(|_| counted && ended);
    let cost = told.cost.filter(|_| !told.outdated);
    (Told { usage: Usage { output_tokens, ..told.usage }, cost, ..told }, output_tokens.is_some())
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
    fn a_call_that_broke_has_used_what_was_told_and_no_less_than_what_came() {
        for (input, output, outdated, ended, used) in [
            (9, Some(2), false, true, (Some(2), false)),
            (9, Some(2), false, false, (Some(2), false)),
            // 10 characters of text, and 7 bytes beside it.
            (9, Some(1), true, true, (Some(5), true)),
            (9, Some(8), true, true, (Some(8), true)),
            (9, Some(1), true, false, (None, false)),
            (9, None, true, true, (None, false)),
            (0, Some(0), false, true, (None, false)),
        ] {
            let usage = Usage { input_tokens: Some(input), output_tokens: output, ..Usage::default() };
            let told = Told { usage, cost: None, beside: 7, outdated };
            let (told, estimated) = broken(told, "Hello, Ada", ended);
            assert_eq!((told.usage.output_tokens, estimated), used, "{input} {output:?} {outdated} {ended}");
        }
    }

    #[test]
    fn a_text_is_estimated_by_its_characters() {
        for (text, estimate) in [("", 0), ("a", 1), ("Hello, Ada", 3), ("日本語", 3), ("né", 2)] {
            assert_eq!(tokens(text), estimate, "{text}");
        }
    }
}
