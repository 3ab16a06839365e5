//! That a text comes out as it went in, however its bytes are cut; that what is no answer is told apart; and that no more
//! is held than may be.

use proptest::{collection::vec, prelude::*, sample};
use serde_json::json;

use super::*;

/// The bytes of an answer in a wire form: its pieces as a provider sends them, with all that it may put between.
fn spoken(wire: Wire, pieces: &[String], noise: &[u8]) -> Vec<u8> {
    let mut lines: Vec<String> = Vec::new();
    let mut turn = noise.iter().cycle();
    let mut event = |data: Value, name: &str| {
        let dice = *turn.next().unwrap_or(&0);
        if dice & 1 > 0 {
            lines.push(": keep-alive".to_owned());
        }
        if dice & 2 > 0 {
            lines.extend([format!("event: {name}"), "id:7".to_owned()]);
        }
        // JSON may be broken into lines between its tokens; each becomes a data line.
        let data = if dice & 4 > 0 { format!("{data:#}") } else { data.to_string() };
        let space = if dice & 8 > 0 { "" } else { " " };
        lines.extend(data.lines().map(|line| format!("data:{space}{line}")));
        lines.push(String::new());
        if dice & 16 > 0 {
            lines.push(String::new());
        }
    };
    match wire {
        Wire::OpenAi => {
            for piece in pieces {
                event(
                    json!({"id": "c-1", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]}),
                    "x",
                );
            }
            event(
                json!({"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": null}),
                "x",
            );
            let usage =
                json!({"prompt_tokens": 12, "completion_tokens": 34, "prompt_tokens_details": {"cached_tokens": 5}});
            event(json!({"id": "c-1", "choices": [], "usage": usage}), "x");
            lines.extend(["data: [DONE]".to_owned(), String::new()]);
        }
        Wire::Anthropic => {
            let usage = json!({"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1});
            event(json!({"type": "message_start", "message": {"id": "c-1", "usage": usage}}), "message_start");
            event(
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                "x",
            );
            for piece in pieces {
                let delta = json!({"type": "text_delta", "text": piece});
                event(json!({"type": "content_block_delta", "index": 0, "delta": delta}), "content_block_delta");
                event(json!({"type": "ping"}), "ping");
            }
            event(json!({"type": "content_block_stop", "index": 0}), "content_block_stop");
            let end = json!({"stop_reason": "stop"});
            event(json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 34}}), "message_delta");
            event(json!({"type": "message_stop"}), "message_stop");
        }
        Wire::Ollama => {
            lines.extend(pieces.iter().map(|piece| json!({"message": {"content": piece}, "done": false}).to_string()));
            let end = json!({"message": {"content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 12,
                             "prompt_eval_cached_count": 5, "eval_count": 34});
            lines.push(end.to_string());
        }
    }
    let mut bytes =
        if wire != Wire::Ollama && !noise.len().is_multiple_of(2) { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    let ends: &[&str] = if wire == Wire::Ollama { &["\n", "\r\n"] } else { &["\n", "\r\n", "\r"] };
    for (line, dice) in lines.iter().zip(noise.iter().cycle()) {
        let mut end = ends[usize::from(*dice) % ends.len()];
        // Together with a CR before it, an LF would be one end.
        if line.is_empty() && end == "\n" && bytes.last() == Some(&b'\r') {
            end = "\r\n";
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(end.as_bytes());
    }
    bytes
}

/// What is read of bytes that are cut at these places.
fn read(wire: Wire, bytes: &[u8], cuts: &[usize]) -> (String, Result<Tally, Wrong>) {
    let draft = Draft::default();
    let mut reading = Reading::new(wire, &draft);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pushed = cuts.windows(2).try_for_each(|cut| reading.push(&bytes[cut[0]..cut[1]]));
    let tally = pushed.and_then(|()| reading.end());
    (draft.text(), tally)
}

fn wires() -> impl Strategy<Value = Wire> {
    sample::select(vec![Wire::OpenAi, Wire::Anthropic, Wire::Ollama])
}

fn pieces() -> impl Strategy<Value = Vec<String>> {
    vec(
        prop_oneof![
            3 => "\\PC{0,12}",
            2 => any::<String>(),
            1 => sample::select(vec!["\n", "\r\n", "\0", "data: x\n\n", "\u{1f980}é\u{2028}", " ", "[DONE]"]).prop_map(str::to_owned),
        ],
        1..12,
    )
}

proptest! {
    /// However it is cut: inside a character, a line, between CR and LF.
    #[test]
    fn a_text_comes_out_as_it_went_in(
        wire in wires(), pieces in pieces(), noise in vec(any::<u8>(), 1..9), cuts in vec(any::<usize>(), 0..40),
    ) {
        let bytes = spoken(wire, &pieces, &noise);
        let (text, tally) = read(wire, &bytes, &cuts);
        let tally = tally.map_err(|wrong| TestCaseError::fail(format!("{wrong:?}")))?;
        prop_assert_eq!(text, pieces.concat().replace('\0', "\u{fffd}"));
        prop_assert_eq!(tally.finish_reason.as_deref(), Some("stop"));
        let usage = tally.told.usage;
        prop_assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_input_tokens), (Some(12), Some(34), Some(5)));
    }

    /// Each byte by itself.
    #[test]
    fn a_text_comes_out_of_single_bytes(wire in wires(), pieces in pieces(), noise in vec(any::<u8>(), 1..9)) {
        let bytes = spoken(wire, &pieces, &noise);
        let cuts: Vec<usize> = (0..bytes.len()).collect();
        let (text, tally) = read(wire, &bytes, &cuts);
        prop_assert!(tally.is_ok());
        prop_assert_eq!(text, pieces.concat().replace('\0', "\u{fffd}"));
    }

    /// What ends before it said why it ended is cut, wherever that was; what came of it is the beginning of the text.
    #[test]
    fn what_is_cut_short_is_never_taken_for_whole(
        wire in wires(), pieces in pieces(), noise in vec(any::<u8>(), 1..9), at in any::<sample::Index>(), cuts in vec(any::<usize>(), 0..9),
    ) {
        let bytes = spoken(wire, &pieces, &noise);
        let reasons = [&b"finish_reason\":\"stop"[..], b"finish_reason\": \"stop", b"stop_reason", b"done\":true"];
        let end = (0..bytes.len()).find(|at| reasons.iter().any(|reason| bytes[*at..].starts_with(reason)));
        let short = &bytes[..at.index(end.expect("it says why it ends"))];
        let (text, tally) = read(wire, short, &cuts);
        prop_assert!(matches!(tally, Err(Wrong::Cut)), "{:?}", tally);
        let whole = pieces.concat().replace('\0', "\u{fffd}");
        prop_assert!(whole.starts_with(&text));
    }

    /// Whatever comes, there is an end, and no more is held than a line.
    #[test]
    fn nonsense_is_no_answer(wire in wires(), bytes in vec(any::<u8>(), 0..600), cuts in vec(any::<usize>(), 0..9)) {
        let (text, tally) = read(wire, &bytes, &cuts);
        prop_assert!(tally.is_err() && text.is_empty());
    }
}

#[test]
fn one_body_in_place_of_a_stream_is_understood() {
    let openai = json!({"id": "c-1", "choices": [{"message": {"content": " Hi\0"}, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let anthropic = json!({"type": "message", "id": "c-1", "content": [{"type": "text", "text": " Hi"},
                           {"type": "text", "text": "\0"}], "stop_reason": "stop",
                           "usage": {"input_tokens": 1, "output_tokens": 2}});
    for (wire, body) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
        let (text, tally) = read(wire, format!("{body:#}").as_bytes(), &[3, 77]);
        let tally = tally.unwrap();
        assert_eq!((text.as_str(), tally.response_id.as_deref()), (" Hi\u{fffd}", Some("c-1")));
        assert_eq!((tally.told.usage.output_tokens, tally.finish_reason.as_deref()), (Some(2), Some("stop")));
    }
}

/// How a reading ends that gets `piece` again and again after `first`, after how many bytes, and how much it held at most.
fn flood(wire: Wire, first: &[u8], piece: &[u8]) -> (Option<Wrong>, usize, usize) {
    let draft = Draft::default();
    let mut reading = Reading::new(wire, &draft);
    reading.push(first).unwrap();
    let (mut bytes, mut held) = (0, 0);
    while bytes < 100_000_000 {
        if let Err(wrong) = reading.push(piece) {
            return (Some(wrong), bytes, held);
        }
        bytes += piece.len();
        held = held.max(draft.len() + reading.held());
    }
    (None, bytes, held)
}

#[test]
fn a_hundred_megabytes_are_too_many_and_are_not_held() {
    let x = "x".repeat(1000);
    let openai = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": x}}]}));
    let delta = json!({"type": "text_delta", "text": x});
    let anthropic = format!("data: {}\n\n", json!({"type": "content_block_delta", "delta": delta}));
    let ollama = format!("{}\n", json!({"message": {"content": x}, "done": false}));
    let fat = "x".repeat(16 << 10);
    let (signs, pings) = (": PROCESSING\n\n".repeat(100), "data: {\"type\":\"ping\"}\n\n".repeat(100));
    for (wire, first, piece, most) in [
        (Wire::OpenAi, "", openai.as_str(), 1_200_000),
        (Wire::Anthropic, "", &anthropic, 1_200_000),
        (Wire::Ollama, "", &ollama, 1_200_000),
        // One line without an end, one event, one body.
        (Wire::OpenAi, "data: {\"choices\": [{\"delta\": {\"content\": \"", &fat, MAX_LINE),
        (Wire::Ollama, "{\"message\": {\"content\": \"", &fat, MAX_LINE),
        (Wire::OpenAi, "", "data: 1234567890\n", 2 * MAX_LINE),
        (Wire::OpenAi, "{\"id\": \"", &fat, MAX_LINE),
        // Nothing but signs of life, and events without a text.
        (Wire::OpenAi, "", &signs, MAX_ANSWER),
        (Wire::Anthropic, "", &pings, MAX_ANSWER),
    ] {
        let (wrong, bytes, held) = flood(wire, first.as_bytes(), piece.as_bytes());
        assert_eq!(wrong, Some(Wrong::TooLarge), "{wire:?} {first}");
        assert!(bytes <= most, "{wire:?} {first}: {bytes}");
        assert!(held <= MAX_LINE + crate::provider::MOST, "{wire:?} {first}: {held}");
    }
    let (wrong, _, held) = flood(Wire::OpenAi, b"", fat.as_bytes());
    assert!(matches!(wrong, Some(Wrong::Malformed(_))) && held <= MAX_LINE, "{wrong:?}");
}
