//! The rules of prompts as tables.

use cqrs_es::test::TestFramework;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Changes, Command, Error, Event, Prompt, Revision};
use crate::{
    Class, Refusal,
    model::{Limits, Message, Parameters, Role},
    policy::Policy,
};

const OWNER: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

fn revision() -> Revision {
    Revision {
        sub_specialty_id: Uuid::from_u128(3),
        title: "ECG".to_owned(),
        content: "Read {{ trace }}.".to_owned(),
        variables: json!({"type": "object", "properties": {"trace": {"type": "string"}}, "required": ["trace"]}),
        llm_provider: "echo".to_owned(),
        model: "echo".to_owned(),
        parameters: Parameters::default(),
        is_public: false,
        policy: Policy::default(),
    }
}

fn create(revision: Revision) -> Command {
    Command::Create { user_id: OWNER, revision: Box::new(revision) }
}

fn revise(user_id: Uuid, changes: Changes) -> Command {
    Command::Revise { user_id, changes: Box::new(changes) }
}

fn created(revision: Revision) -> Event {
    Event::PromptCreated { user_id: OWNER, revision: Box::new(revision) }
}

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Prompt> {
    TestFramework::<Prompt>::with(()).given(events)
}

#[test]
fn a_prompt_is_made_once_and_a_change_is_a_new_whole_version() {
    given(vec![]).when(create(revision())).then_expect_events(vec![created(revision())]);
    given(vec![created(revision())]).when(create(revision())).then_expect_error(Error::Exists);
    let title = Changes { title: Some("EKG".to_owned()), ..Changes::default() };
    let changed = Revision { title: "EKG".to_owned(), ..revision() };
    given(vec![created(revision())])
        .when(revise(OWNER, title))
        .then_expect_events(vec![Event::PromptRevised { user_id: OWNER, revision: Box::new(changed) }]);
}

#[test]
fn only_its_owner_revises_it_and_to_others_a_private_one_is_not_there() {
    let public = Revision { is_public: true, ..revision() };
    given(vec![]).when(revise(OWNER, Changes::default())).then_expect_error(Error::NotFound);
    given(vec![created(revision())]).when(revise(OTHER, Changes::default())).then_expect_error(Error::NotFound);
    given(vec![created(public)]).when(revise(OTHER, Changes::default())).then_expect_error(Error::NotOwner);
}

#[test]
fn an_archived_prompt_stays_as_it_is_and_is_not_rendered() {
    use cqrs_es::Aggregate;
    let archive = |user_id| Command::Archive { user_id };
    given(vec![]).when(archive(OWNER)).then_expect_error(Error::NotFound);
    given(vec![created(revision())]).when(archive(OTHER)).then_expect_error(Error::NotFound);
    given(vec![created(revision())]).when(archive(OWNER)).then_expect_events(vec![Event::PromptArchived {}]);
    let archived = || given(vec![created(revision()), Event::PromptArchived {}]);
    archived().when(archive(OWNER)).then_expect_events(vec![]);
    archived().when(revise(OWNER, Changes::default())).then_expect_error(Error::IllegalTransition);
    let mut prompt = Prompt::default();
    prompt.apply(created(revision()));
    assert!(prompt.render(None, &json!({ "trace": "x" })).is_ok());
    prompt.apply(Event::PromptArchived {});
    assert_eq!(prompt.render(None, &json!({ "trace": "x" })).err(), Some(Error::Archived));
}

#[test]
fn of_anothers_prompt_only_versions_that_were_public_can_be_run() {
    use cqrs_es::Aggregate;
    let mut prompt = Prompt::default();
    prompt.apply(created(revision()));
    prompt
        .apply(Event::PromptRevised { user_id: OWNER, revision: Box::new(Revision { is_public: true, ..revision() }) });
    let runnable = |user, version| prompt.is_runnable_by(user, false, version);
    assert!(runnable(OTHER, None) && runnable(OTHER, Some(2)) && !runnable(OTHER, Some(1)));
    assert!(runnable(OTHER, Some(3)), "that there is no such version is told as such");
    assert!(runnable(OWNER, Some(1)) && prompt.is_runnable_by(OTHER, true, Some(1)));
    prompt.apply(Event::PromptRevised { user_id: OWNER, revision: Box::new(revision()) });
    assert!(!prompt.is_runnable_by(OTHER, false, Some(2)), "it is private now");
}

#[test]
fn a_prompt_is_visible_as_its_newest_version_is() {
    use cqrs_es::Aggregate;
    let mut prompt = Prompt::default();
    assert!(!prompt.is_visible_to(OWNER, true), "it does not exist");
    prompt.apply(created(Revision { is_public: true, ..revision() }));
    assert!(prompt.is_visible_to(OTHER, false));
    prompt.apply(Event::PromptRevised { user_id: OWNER, revision: Box::new(revision()) });
    assert!(!prompt.is_visible_to(OTHER, false));
    assert!(prompt.is_visible_to(OWNER, false) && prompt.is_visible_to(OTHER, true));
    for (wanted, found) in
        [(None, Some(2)), (Some(1), Some(1)), (Some(2), Some(2)), (Some(3), None), (Some(0), None), (Some(-1), None)]
    {
        assert_eq!(prompt.revision(wanted).map(|r| r.0).ok(), found, "{wanted:?}");
    }
}

#[test]
fn all_that_is_wrong_with_a_version_is_said_at_once() {
    let bad = Revision {
        title: " ".to_owned(),
        content: "{{ trace }\n".to_owned(),
        variables: json!({"type": "array"}),
        llm_provider: "clippy".to_owned(),
        model: "a\u{7}".to_owned(),
        parameters: Parameters {
            temperature: Some(f64::NAN),
            top_p: Some(1.5),
            max_tokens: Some(0),
            stop: vec![String::new(); 5],
            ..Parameters::default()
        },
        ..revision()
    };
    let command = Command::Create { user_id: OWNER, revision: Box::new(bad) };
    let error = given(vec![]).when(command).inspect_result().unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Invalid, "invalid_prompt"));
    let mut pointers: Vec<String> = error.faults().into_iter().map(|fault| fault.pointer).collect();
    pointers.sort();
    assert_eq!(
        pointers,
        [
            "/content",
            "/llm_provider",
            "/model",
            "/parameters/max_tokens",
            "/parameters/stop",
            "/parameters/temperature",
            "/parameters/top_p",
            "/title",
            "/variables/type",
        ]
    );
}

#[test]
fn models_and_providers_that_can_be() {
    let long = "m".repeat(100);
    let longer = "m".repeat(101);
    for (provider, model, fine) in [
        ("echo", "", true),
        ("echo", "anything at all", true),
        ("echo", longer.as_str(), true),
        ("openai", "gpt-4o", true),
        ("openai", "", false),
        ("openai", " ", false),
        ("openai", "a\nb", false),
        ("openrouter", long.as_str(), true),
        ("openrouter", longer.as_str(), false),
        ("ollama", "qwen2.5:0.5b", true),
        ("OpenAI", "gpt-4o", false),
        ("", "gpt-4o", false),
    ] {
        let revision = Revision { llm_provider: provider.to_owned(), model: model.to_owned(), ..revision() };
        let outcome = given(vec![]).when(create(revision)).inspect_result();
        assert_eq!(outcome.is_ok(), fine, "{provider} {model}: {outcome:?}");
    }
}

/// What a prompt of this content and schema becomes.
fn rendered(content: &str, schema: Value, variables: &Value) -> Result<String, Vec<(String, String)>> {
    use cqrs_es::Aggregate;
    let mut prompt = Prompt::default();
    let parameters = Parameters { system: Some("Be brief.".to_owned()), ..Parameters::default() };
    prompt.apply(created(Revision { content: content.to_owned(), variables: schema, parameters, ..revision() }));
    match prompt.render(None, variables) {
        Ok(rendered) => {
            assert_eq!(rendered.messages[0].content, "Be brief.");
            Ok(rendered.messages[1].content.clone())
        }
        Err(error) => Err(error.faults().into_iter().map(|fault| (fault.pointer, fault.detail)).collect()),
    }
}

#[test]
fn each_variable_that_does_not_fit_is_named_at_once() {
    let schema = json!({
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0},
            "name": {"type": "string", "maxLength": 3},
            "a/b~c": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "a/b~c"],
        "additionalProperties": false,
    });
    let variables = json!({"age": -1, "name": "secret", "tags": ["x", 5], "more": 1});
    let faults = rendered("x", schema.clone(), &variables).unwrap_err();
    let mut pointers: Vec<&str> = faults.iter().map(|fault| fault.0.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/variables/age", "/variables/a~1b~0c", "/variables/more", "/variables/name", "/variables/tags/1"]
    );
    assert!(!format!("{faults:?}").contains("secret"), "values are not repeated: {faults:?}");
    assert_eq!(rendered("x", schema, &json!([1])).unwrap_err()[0].0, "/variables");
}

#[test]
fn an_optional_variable_can_be_asked_for() {
    let schema = json!({"type": "object", "properties": {"note": {"type": "string"}}});
    let content = "{% if note is defined %}Note: {{ note }}{% else %}-{% endif %}";
    assert_eq!(rendered(content, schema.clone(), &json!({"note": "a"})).unwrap(), "Note: a");
    assert_eq!(rendered(content, schema.clone(), &json!({})).unwrap(), "-");
    for (content, text) in [
        ("{{ note|default('none') }}", "none"),
        ("{{ note|d('none')|upper }}", "NONE"),
        ("{{ (note|default('x')) ~ '!' }}", "x!"),
        ("{{ note is undefined }} {{ note is not defined }}", "True True"),
        ("{{ note if note is defined else 'none' }}", "none"),
        ("{% for x in note|default([1, 2]) %}{{ x }}{% endfor %}", "12"),
        ("{{ note|default }}.", "."),
        ("{% if note is defined and note|length > 1 %}long{% endif %}", ""),
    ] {
        assert_eq!(rendered(content, schema.clone(), &json!({})).unwrap(), text, "{content}");
    }
    // Strict: what is not there is an error, not nothing.
    let faults = rendered("line one\n{{ note }}", schema, &json!({})).unwrap_err();
    assert!(faults[0].1.starts_with("line 2: undefined"), "{faults:?}");
}

#[test]
fn an_optional_variable_that_was_left_out_has_the_default_of_its_schema() {
    let schema = json!({"type": "object", "properties": {
        "tone": {"type": "string", "default": "plain"}, "n": {"type": "integer", "default": "many"},
        "who": {"type": "string"},
    }});
    let tone = "{{ tone }} {{ tone|default('other') }} {{ tone is defined }}";
    assert_eq!(rendered(tone, schema.clone(), &json!({"n": 1})).unwrap(), "plain plain True");
    assert_eq!(rendered("{{ tone }}", schema.clone(), &json!({"n": 1, "tone": "kind"})).unwrap(), "kind");
    // A default that does not fit is told where it would be.
    assert_eq!(rendered("{{ tone }}", schema, &json!({})).unwrap_err()[0].0, "/variables/n");
}

#[test]
fn the_end_of_a_template_stays_as_it_was_written() {
    for content in ["a", "a\n", "a\n\n", "{{ t }}\n", "{% if true %}a{% endif %}\n", "a \n "] {
        let schema = json!({"type": "object", "properties": {"t": {"type": "string"}}});
        let text = rendered(content, schema, &json!({"t": "x\n"})).unwrap();
        assert_eq!(text, content.replace("{{ t }}", "x\n").replace("{% if true %}a{% endif %}", "a"));
    }
}

#[test]
fn a_comment_without_an_end_is_told_how_to_be_a_text() {
    let bad = Revision { content: "one\nColour: {#fff}".to_owned(), ..revision() };
    let faults = given(vec![]).when(create(bad)).inspect_result().unwrap_err().faults();
    assert_eq!((faults.len(), faults[0].pointer.as_str()), (1, "/content"));
    assert!(faults[0].detail.starts_with("line 2: ") && faults[0].detail.contains("{% raw %}"), "{faults:?}");
}

#[test]
fn messages_beside_the_template_stand_between_the_system_and_the_prompt() {
    use cqrs_es::Aggregate;
    let example = |role, content: &str| Message { role, content: content.to_owned() };
    let messages = vec![example(Role::User, "{{ not a template }}"), example(Role::Assistant, "A")];
    let parameters = Parameters { system: Some("S".to_owned()), messages: messages.clone(), ..Parameters::default() };
    let mut prompt = Prompt::default();
    prompt.apply(created(Revision { parameters, content: "Q".to_owned(), ..revision() }));
    let sent = prompt.render(None, &json!({"trace": "x"})).unwrap().messages;
    let expected: Vec<_> =
        [example(Role::System, "S")].into_iter().chain(messages).chain([example(Role::User, "Q")]).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_call_is_no_longer_than_the_execution() {
    let limits = Limits { total_seconds: Some(900), ..Limits::default() };
    let long = Revision { parameters: Parameters { limits, ..Parameters::default() }, ..revision() };
    let faults = given(vec![]).when(create(long.clone())).inspect_result().unwrap_err().faults();
    assert_eq!(faults[0].pointer, "/parameters/limits/total_seconds");
    let policy = Policy { deadline_seconds: 900, ..Policy::default() };
    assert!(given(vec![]).when(create(Revision { policy, ..long })).inspect_result().is_ok());
}
