//! What the bytes of an answer come to: forms in which servers that speak these wires were seen to answer, to fail and to be cut.

use super::*;

/// What comes of an answer: its text and why it ended; or why it is none.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Text(String, Option<String>),
    Cut,
    Malformed(&'static str),
    Said(Option<String>, Option<u16>, String),
    Refused,
}

use Outcome::{Cut, Malformed, Refused};

fn text(text: &str, reason: &str) -> Outcome {
    Outcome::Text(text.to_owned(), Some(reason.to_owned()).filter(|reason| !reason.is_empty()))
}

fn error(kind: &str, status: u16, words: &str) -> Outcome {
    let kind = Some(kind.to_owned()).filter(|kind| !kind.is_empty());
    Outcome::Said(kind, Some(status).filter(|status| *status > 0), words.to_owned())
}

/// Read whole, and in pieces of every small size.
fn outcome(wire: Wire, bytes: &[u8]) -> Outcome {
    let of = |size: usize| {
        let draft = Draft::default();
        let mut reading = Reading::new(wire, &draft);
        let pushed = bytes.chunks(size).try_for_each(|piece| reading.push(piece));
        match pushed.and_then(|()| reading.end()) {
            Ok(tally) => match tally.ending("test", &draft) {
                Ok(ending) => Outcome::Text(draft.text(), ending.finish_reason),
                Err(failure) if failure.code == "provider_rejected" => Refused,
                Err(_) => Malformed("without a text and without a reason for it"),
            },
            Err(Wrong::Cut) => Cut,
            Err(Wrong::Malformed(what)) => Malformed(what),
            Err(Wrong::Said { kind, status, message }) => Outcome::Said(kind, status, message),
            Err(Wrong::TooLarge) => Malformed("too large"),
        }
    };
    let whole = of(bytes.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(of(size), whole, "in pieces of {size}: {}", String::from_utf8_lossy(bytes));
    }
    whole
}

const HEL: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn check(wire: Wire, table: impl IntoIterator<Item = (String, Outcome)>) {
    for (bytes, expected) in table {
        assert_eq!(outcome(wire, bytes.as_bytes()), expected, "{bytes}");
    }
}

#[test]
fn an_error_in_an_answer_ends_it_in_whatever_form_it_is_told() {
    let between = [
        (
            r#"data: {"choices":[{"delta":{},"error":{"code":502,"message":"upstream died"},"finish_reason":"error"}]}"#,
            error("", 502, "upstream died"),
        ),
        (
            r#"data: {"object":"error","message":"CUDA out of memory","type":"InternalServerError","code":500}"#,
            error("InternalServerError", 500, "CUDA out of memory"),
        ),
        (r#"data: {"detail":"worker crashed"}"#, error("", 0, "worker crashed")),
        (
            r#"data: {"detail":[{"loc":["body","x"],"msg":"bad"}]}"#,
            error("", 0, r#"{"detail":[{"loc":["body","x"],"msg":"bad"}]}"#),
        ),
        (
            r#"data: {"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#,
            error("insufficient_system_resource", 0, "it ended with the reason insufficient_system_resource"),
        ),
        (
            r#"data: {"choices":[{"delta":{},"finish_reason":"abort"}]}"#,
            error("abort", 0, "it ended with the reason abort"),
        ),
        (
            r#"data: {"choices":[{"delta":{},"finish_reason":{"type":"abort"}}]}"#,
            error("abort", 0, "it ended with the reason abort"),
        ),
        (r#"data: {"choices":[{"delta":{"error":"boom"}}]}"#, error("", 0, "boom")),
        (r#"data: {"error":{"message":"busy","type":"server_error","code":null}}"#, error("server_error", 0, "busy")),
        (
            r#"data: {"error":{"message":"long","type":"BadRequestError","code":"400"}}"#,
            error("BadRequestError", 400, "long"),
        ),
        (r#"data: {"error":{"error":{"message":"deep","code":429}}}"#, error("", 429, "deep")),
        (r#"data: {"error":"no slot","error_type":"overloaded"}"#, error("overloaded", 0, "no slot")),
        (r#"data: {"error":true,"message":"it broke"}"#, error("", 0, "it broke")),
        (r#"data: {"errors":[{"message":"one"}],"choices":[]}"#, error("", 0, "one")),
        (
            r#"data: [{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]"#,
            error("RESOURCE_EXHAUSTED", 429, "quota"),
        ),
        (
            r#"data: {"base_resp":{"status_code":1008,"status_msg":"no balance"},"choices":null}"#,
            error("", 0, "no balance"),
        ),
        (r#"data: {"code":"503","message":"away","choices":[{"delta":{}}]}"#, error("", 503, "away")),
        (r#"data: {"status":"error","msg":"gone"}"#, error("", 0, "gone")),
        ("event: error\ndata: {\"message\":\"named\"}", error("", 0, "named")),
        ("event: error\ndata: plain words", error("", 0, "plain words")),
        ("event: error\ndata:", error("", 0, "")),
        ("event: error", error("", 0, "")),
        (r#"data: {"choices":[{"message":{"error":"boom"}}]}"#, error("", 0, "boom")),
        (r#"data: {"choices":[{"index":1,"delta":{},"error":{"message":"boom"}}]}"#, error("", 0, "boom")),
        (
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\nevent: error",
            error("", 0, r#"{"choices":[{"delta":{"content":"x"}}]}"#),
        ),
        (r#"error: {"code":500,"message":"slot","type":"server_error"}"#, error("server_error", 500, "slot")),
        ("data: [ERROR] out of memory", error("", 0, "[ERROR] out of memory")),
        ("data: Internal Server Error", error("", 0, "Internal Server Error")),
        (r#"data: {"warning":"upstream died"}"#, error("", 0, r#"{"warning":"upstream died"}"#)),
        ("data: hello", Malformed("something that is not JSON")),
        ("data: {\"choices\": ", Malformed("JSON that is broken")),
        ("data: {\"choices\": \"none\"}", Malformed("JSON of another form")),
    ];
    check(Wire::OpenAi, between.into_iter().map(|(event, expected)| (format!("{HEL}{event}\n\n{DONE}"), expected)));
}

#[test]
fn only_a_reason_that_is_known_or_a_marker_is_an_end() {
    let reason =
        |reason: &str| format!("{HEL}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n");
    let mut table = vec![
        ("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"finish_reason\":\"\"}]}\n\n".to_owned(), Cut),
        (String::new(), Cut),
        (": keep-alive\n\n".to_owned(), Cut),
        (HEL.to_owned(), Cut),
        (format!("{HEL}{DONE}"), text("Hel", "")),
        (format!("{HEL}data: [done]"), text("Hel", "")),
        (format!("{HEL}data: \"[DONE]\"\n\n"), text("Hel", "")),
        (format!("{HEL}data: [DONE"), Cut),
        (format!("{HEL}{}", STOP.trim_end()), text("Hel", "stop")),
        (format!("{HEL}{}", &STOP[..STOP.len() - 5]), Cut),
        (format!("{HEL}{STOP}{DONE}").replace("\n\n", "\n"), text("Hel", "stop")),
        (format!("{HEL}{STOP}{DONE}").replace("\n\n", "\r"), text("Hel", "stop")),
        (format!("{HEL}{STOP}").replace("\n\n", "\n")[..HEL.len() + 20].to_owned(), Cut),
        (format!("{}data: {{\"error\":\"boom\"}}\n{STOP}", &HEL[..HEL.len() - 1]), error("", 0, "boom")),
        (DONE.to_owned(), Malformed("without a text and without a reason for it")),
        // What follows a whole text makes no other of it, unless it says that something went wrong.
        (format!("{HEL}{STOP}data: hello\n\n"), text("Hel", "stop")),
        (format!("{HEL}{STOP}data: {{\"choices\": \n\n{DONE}"), text("Hel", "stop")),
        (format!("{HEL}data: {{\"warning\":\"slow\"}}\n\n{STOP}{DONE}"), text("Hel", "stop")),
        (format!("{HEL}{STOP}data: {{\"error\":\"boom\"}}\n\n{DONE}"), error("", 0, "boom")),
    ];
    for none in ["null", "\"\"", "\" \"", "\"null\"", "7", "false", "[]"] {
        table.push((reason(none), Cut));
    }
    for known in ["stop", "length", "STOP", "eos_token", "stop_sequence", "model_length", "end_turn", "MAX_TOKENS"] {
        table.push((reason(&format!("\"{known}\"")), text("Hel", known)));
    }
    table.push((reason("{\"type\":\"length\",\"length\":7}"), text("Hel", "length")));
    for unknown in ["other", "wholly_new"] {
        table.push((reason(&format!("\"{unknown}\"")), Cut));
        table.push((reason(&format!("\"{unknown}\"")) + DONE, text("Hel", unknown)));
    }
    for refused in ["content_filter", "SAFETY", "sensitive"] {
        table.push((reason(&format!("\"{refused}\"")) + DONE, Refused));
    }
    for failed in ["error", "ERROR_LIMIT", "network_error", "timeout", "cancelled"] {
        let words = format!("it ended with the reason {failed}");
        table.push((reason(&format!("\"{failed}\"")) + DONE, error(failed, 0, &words)));
    }
    check(Wire::OpenAi, table);
}

#[test]
fn types_that_are_not_the_documented_ones_lose_no_answer() {
    let table = [
        (r#"{"delta":{"content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo"}]}}"#, "Hello"),
        (
            r#"{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]},{"type":"text","text":"Hi"}]}}"#,
            "Hi",
        ),
        (r#"{"delta":{"content":7}}"#, "7"),
        (r#"{"delta":{"content":{"text":{"value":"Hi"}}}}"#, "Hi"),
        (r#"{"delta":{"content":"a\ud83d"}}"#, "a\u{fffd}"),
        (r#"{"delta":{"content":"a\ude00b"},"logprobs":NaN}"#, "a\u{fffd}b"),
        (r#"{"index":"0","delta":{"role":5,"content":"Hi","tool_calls":null,"refusal":null}}"#, "Hi"),
        (r#"{"index":0.0,"delta":{"content":"Hi","content":"Ho"}}"#, "Ho"),
        (r#"{"index":null,"text":"Hi","logprobs":null}"#, "Hi"),
        (r#"{"delta":null,"message":{"content":"Hi"}}"#, "Hi"),
        (r#"{"delta":"Hi"}"#, "Hi"),
    ];
    check(
        Wire::OpenAi,
        table.into_iter().map(|(choice, expected)| {
            let odd = r#""id":17,"created":"now","error":null,"usage":null,"object":"chat.completion.chunk""#;
            (format!("data: {{{odd},\"choices\":[{choice}]}}\n\n{STOP}{DONE}"), text(expected, "stop"))
        }),
    );
    // Repeated whole behind its pieces, it is not doubled.
    let again = "data: {\"choices\":[{\"message\":{\"content\":\"Hel\"},\"finish_reason\":\"stop\"}]}\n\n";
    let from_one = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"error\"}]}\n\n";
    check(
        Wire::OpenAi,
        [
            (format!("{HEL}{again}"), text("Hel", "stop")),
            (from_one.to_owned(), text("Hi", "stop")),
            (format!("{HEL}{other}{STOP}"), text("Hel", "stop")),
            (format!("{HEL}data: {{\"error\":{{}},\"choices\":[]}}\n\n{STOP}"), text("Hel", "stop")),
            (
                format!("{HEL}data: {{\"error\":{{\"code\":0,\"message\":\"\"}},\"choices\":[]}}\n\n{STOP}"),
                text("Hel", "stop"),
            ),
            (
                format!(
                    "{HEL}data: {{\"base_resp\":{{\"status_code\":0,\"status_msg\":\"\"}},\"choices\":[]}}\n\n{STOP}"
                ),
                text("Hel", "stop"),
            ),
            (format!("{HEL}data: {{\"prompt_filter_results\":[],\"choices\":[]}}\n\n{STOP}"), text("Hel", "stop")),
            (format!("{HEL}data: null\n\ndata: {{}}\n\n{STOP}"), text("Hel", "stop")),
            (format!("\u{feff}\n\n: hi\r\n\r\n{HEL}{STOP}"), text("Hel", "stop")),
        ],
    );
}

#[test]
fn a_body_is_what_its_first_bytes_say() {
    let whole = r#"{"id":"x","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let chunks = format!("{}\n{}\n", &HEL[6..], &STOP[6..]);
    check(
        Wire::OpenAi,
        [
            (whole.to_owned(), text("Hi", "stop")),
            (format!("\u{feff}\n\n  {whole}\n"), text("Hi", "stop")),
            (format!("{whole}\n[DONE]"), text("Hi", "stop")),
            (whole.replace("\"stop\"", "null"), text("Hi", "")),
            (whole.replace("\"stop\"", "\"error\""), error("error", 0, "it ended with the reason error")),
            (whole.replace("\"stop\"", "\"new\""), text("Hi", "new")),
            (whole[..40].to_owned(), Malformed("JSON that is broken")),
            (chunks.clone(), text("Hel", "stop")),
            (chunks[..HEL.len()].to_owned(), Cut),
            (r#"{"error":{"message":"no","code":"429"}}"#.to_owned(), error("", 429, "no")),
            (r#"[{"error":{"message":"no","code":503}}]"#.to_owned(), error("", 503, "no")),
            ("{\n  \"message\": \"no\",\n  \"success\": false\n}".to_owned(), error("", 0, "no")),
            ("{}".to_owned(), Malformed("without a text and without a reason for it")),
            (
                "<html>502 Bad Gateway</html>\n".to_owned(),
                Malformed("something that is neither JSON nor a stream of events"),
            ),
            ("upstream connect error\n".to_owned(), Malformed("something that is neither JSON nor a stream of events")),
        ],
    );
}

#[test]
fn anthropic_ends_with_a_reason_or_its_marker_and_tells_errors_in_more_than_one_form() {
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    let start = event("message_start", r#"{"type":"message_start","message":{"id":7,"usage":{"input_tokens":"5"}}}"#);
    let hel = event("x", r#"{"type":"content_block_delta","index":"0","delta":{"type":"text_delta","text":"Hel"}}"#);
    let begun = format!("{start}{hel}");
    let delta = |reason: &str| event("x", &format!(r#"{{"type":"message_delta","delta":{{"stop_reason":{reason}}}}}"#));
    let stop = event("message_stop", r#"{"type":"message_stop"}"#);
    check(
        Wire::Anthropic,
        [
            (begun.clone(), Cut),
            (format!("{begun}{}", delta("null")), Cut),
            (format!("{begun}{}", delta("\"\"")), Cut),
            (format!("{begun}{}", delta("\"end_turn\"")), text("Hel", "end_turn")),
            (format!("{begun}{}", delta("\"new\"")), Cut),
            (format!("{begun}{}{stop}", delta("\"new\"")), text("Hel", "new")),
            (format!("{begun}{}{stop}", delta("\"error\"")), error("error", 0, "it ended with the reason error")),
            (format!("{begun}{}", delta("\"refusal\"")), Refused),
            (format!("{begun}{}", event("message_stop", "{}")), text("Hel", "")),
            (
                format!(
                    "{begun}{}",
                    event("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#)
                ),
                error("overloaded_error", 0, "Overloaded"),
            ),
            (format!("{begun}data: {{\"error\":{{\"message\":\"no\",\"code\":\"529\"}}}}\n\n"), error("", 529, "no")),
            (format!("{begun}data: {{\"detail\":\"gone\"}}\n\n"), error("", 0, "gone")),
            (
                r#"{"type":"error","error":{"type":"api_error","message":"no"},"request_id":"r"}"#.to_owned(),
                error("api_error", 0, "no"),
            ),
            (
                r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#.to_owned(),
                text("Hi", "end_turn"),
            ),
            (r#"{"type":"message","content":"Hi","stop_reason":null}"#.to_owned(), text("Hi", "")),
        ],
    );
}

#[test]
fn ollama_ends_when_it_is_done_and_tells_errors_in_more_than_one_form() {
    let hel = "{\"message\":{\"content\":\"Hel\"},\"done\":false}\n";
    check(
        Wire::Ollama,
        [
            (hel.to_owned(), Cut),
            (format!("{hel}{{\"done\":true}}"), text("Hel", "")),
            (
                "{\"message\":{\"content\":[\"Hi\",{\"type\":\"thinking\",\"thinking\":\"Hm\"}]},\"done\":true}"
                    .to_owned(),
                text("Hi", ""),
            ),
            (
                format!("{hel}{{\"message\":null,\"done\":true,\"done_reason\":\"length\",\"eval_count\":\"7\"}}\n"),
                text("Hel", "length"),
            ),
            (
                format!("{hel}{{\"done\":true,\"done_reason\":\"error\"}}\n"),
                error("error", 0, "it ended with the reason error"),
            ),
            (format!("{hel}{{\"done\":tr"), Cut),
            (format!("{hel}{{\"error\":\"out of memory\"}}\n"), error("", 0, "out of memory")),
            (format!("{hel}{{\"error\":{{\"message\":\"no\",\"code\":404}}}}\n"), error("", 404, "no")),
            (format!("{hel}{{\"StatusCode\":500,\"error\":\"no\"}}\n"), error("", 0, "no")),
            ("{\n \"message\": {\"content\": \"Hi\"},\n \"done\": true\n}\n".to_owned(), text("Hi", "")),
            ("{\n \"error\": \"no\"\n}\n".to_owned(), error("", 0, "no")),
            (format!("data: {hel}\ndata: {{\"done\":true}}\n\n"), text("Hel", "")),
            ("<html>\n".to_owned(), Malformed("something that is not JSON")),
        ],
    );
}

#[test]
fn what_was_used_is_read_in_whatever_type_and_kept_when_the_answer_fails() {
    let read = |usage: &str, more: &str| {
        let draft = Draft::default();
        let mut reading = Reading::new(Wire::OpenAi, &draft);
        let pushed = reading.push(format!("{HEL}data: {{\"choices\":[],\"usage\":{usage}}}\n\n{more}").as_bytes());
        let ended = pushed.and_then(|()| reading.end());
        let told = ended.as_ref().map_or_else(|_| reading.told(), |tally| tally.told);
        let cost = told.cost.map(|cost| cost.to_string());
        (ended.is_ok(), told.usage.input_tokens, told.usage.output_tokens, cost)
    };
    let broken = "data: {\"error\":\"boom\"}\n\n";
    for more in [DONE, broken, ""] {
        let good = more == DONE;
        for (usage, cost) in [
            (r#"{"prompt_tokens":12,"completion_tokens":34}"#, None),
            (
                r#"{"prompt_tokens":12.0,"completion_tokens":"34","cost":0.12345678901234567890}"#,
                Some("0.1234567890123456789"),
            ),
            (r#"{"input_tokens":"12","output_tokens":33.5,"cost":"0.00014"}"#, Some("0.00014")),
            (r#"{"prompt_tokens":12,"completion_tokens":34,"cost":1.4e-5}"#, Some("0.000014")),
            (r#"{"prompt_tokens":12,"completion_tokens":34,"cost":null}"#, None),
            (r#"{"prompt_tokens":12,"completion_tokens":34,"cost":-1}"#, None),
        ] {
            assert_eq!(read(usage, more), (good, Some(12), Some(34), cost.map(str::to_owned)), "{usage} {more}");
        }
    }
    let (_, input, output, _) =
        read(r#"{"prompt_tokens":12,"completion_tokens":34}"#, "data: {\"choices\":[],\"usage\":{}}\n\n");
    assert_eq!((input, output), (Some(12), Some(34)));
}

#[test]
fn counts_after_which_more_came_are_known_to_be_outdated_and_zeros_are_none() {
    let read = |wire: Wire, events: &[&str]| {
        let draft = Draft::default();
        let mut reading = Reading::new(wire, &draft);
        reading.push(events.iter().flat_map(|event| [*event, "\n\n"]).collect::<String>().as_bytes()).unwrap();
        let Told { usage, outdated, .. } = draft.told();
        let whole = reading.end().ok().map(|tally| tally.ending("test", &draft).unwrap().usage);
        (
            (usage.input_tokens, usage.output_tokens),
            outdated,
            whole.map(|usage| (usage.input_tokens, usage.output_tokens)),
        )
    };
    let usage = |input: u64, output: u64| {
        format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output}}}}}")
    };
    let (hel, stop) = (HEL.trim_end(), STOP.trim_end());
    let (some, zeros, no_output) = (usage(9, 2), usage(0, 0), usage(9, 0));
    for (events, counts, outdated, whole) in [
        (vec![hel, stop, &some], (Some(9), Some(2)), false, Some((Some(9), Some(2)))),
        (vec![&some, hel, stop], (Some(9), Some(2)), true, Some((Some(9), None))),
        (vec![hel, stop, &some, &zeros], (Some(9), Some(2)), false, Some((Some(9), Some(2)))),
        (vec![hel, stop, &zeros], (Some(0), Some(0)), false, Some((None, None))),
        (vec![hel, stop, &no_output], (Some(9), Some(0)), false, Some((Some(9), None))),
        (vec![stop, &no_output], (Some(9), Some(0)), false, Some((Some(9), Some(0)))),
        (vec![&some, hel], (Some(9), Some(2)), true, None),
    ] {
        assert_eq!(read(Wire::OpenAi, &events), (counts, outdated, whole), "{events:?}");
    }
    let start = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}"#;
    let partial = r#"data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Partial"}}"#;
    let end = r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#;
    let stop = r#"data: {"type":"message_stop"}"#;
    for (events, counts, outdated, whole) in [
        (vec![start], (Some(9), Some(1)), false, None),
        (vec![start, partial], (Some(9), Some(1)), true, None),
        (vec![start, partial, end], (Some(9), Some(2)), false, Some((Some(9), Some(2)))),
        (vec![start, partial, stop], (Some(9), Some(1)), true, Some((Some(9), None))),
    ] {
        assert_eq!(read(Wire::Anthropic, &events), (counts, outdated, whole), "{events:?}");
    }
}

#[test]
fn what_a_server_refuses_is_not_sent_to_it_again() {
    let mut request: Request = serde_json::from_value(serde_json::json!({
        "user_id": uuid::Uuid::nil(), "prompt_id": uuid::Uuid::nil(), "prompt_version": 1, "variables": {}, "messages": [],
        "llm_provider": "openai", "model": "mine", "parameters": {"max_tokens": 7},
    }))
    .unwrap();
    let usual = Habits::default();
    let older = Habits { completion_tokens: Some(false), ..usual };
    let newer = Habits { completion_tokens: Some(true), ..usual };
    let without = Habits { stream_options: false, ..usual };
    let unsupported =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    for (model, habits, words, learned) in [
        ("mine", usual, unsupported, Some(newer)),
        ("mine", newer, unsupported, None),
        ("o3", usual, "Extra inputs are not permitted: max_completion_tokens", Some(older)),
        ("mine", usual, "max_tokens is too large", None),
        ("mine", usual, "'max_tokens' or 'max_completion_tokens' is too large: 9. Shorten the messages", None),
        ("o3", usual, "max_completion_tokens must be at most 4, not max_tokens", None),
        ("mine", usual, "Unknown field Stream_Options", Some(without)),
        ("mine", without, "stream_options", None),
        ("mine", without, unsupported, Some(Habits { completion_tokens: Some(true), ..without })),
        ("mine", usual, "no", None),
    ] {
        request.model = model.to_owned();
        assert_eq!(habits.learn(Wire::OpenAi, &request, words), learned, "{model} {words}");
    }
    assert_eq!(usual.learn(Wire::Anthropic, &request, "stream_options"), None);
    assert_eq!(Wire::OpenAi.longest(&request), Some(7));
    request.model = "claude-3-haiku".to_owned();
    request.parameters.max_tokens = None;
    assert_eq!((Wire::OpenAi.longest(&request), Wire::Anthropic.longest(&request)), (None, Some(4_096)));
    request.parameters.extra = serde_json::from_str(r#"{"max_completion_tokens": 9, "n": 3}"#).unwrap();
    assert_eq!(Wire::OpenAi.longest(&request), Some(27));
    request.parameters.extra = serde_json::from_str(r#"{"options": {"num_predict": -1}}"#).unwrap();
    assert_eq!(Wire::Ollama.longest(&request), None);
}
