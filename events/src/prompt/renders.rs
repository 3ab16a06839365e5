//! Templates that are good, rendered here and by the code that renders them: to the same text, within the same bounds. And
//! variables with one thing wrong: that thing is named.

use std::fmt::Write as _;

use cqrs_es::Aggregate;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Error, Event, Prompt, RENDERED_BYTES, Revision, template::check};
use crate::{Refusal, model::Parameters};

/// A piece of a template.
#[derive(Debug, Clone)]
enum Piece {
    /// Text, without anything that would be a tag.
    Text(String),
    /// A variable of text.
    Name(&'static str),
    Upper(&'static str),
    Both(&'static str, &'static str),
    If(bool, Vec<Piece>, Vec<Piece>),
    Each(Vec<Piece>),
}

/// What the variables are.
#[derive(Debug, Clone)]
struct Variables {
    a: String,
    b: String,
    yes: bool,
    items: Vec<String>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9 .,äßZ\n]{0,12}", any::<String>()]
        .prop_map(|text| text.chars().filter(|c| !matches!(c, '{' | '}' | '#' | '%' | '\0')).collect())
}

fn piece() -> impl Strategy<Value = Piece> {
    let name = prop_oneof![Just("a"), Just("b")];
    let leaf = prop_oneof![
        text().prop_map(Piece::Text),
        name.clone().prop_map(Piece::Name),
        name.clone().prop_map(Piece::Upper),
        (name.clone(), name).prop_map(|(one, other)| Piece::Both(one, other)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let some = || vec(inner.clone(), 0..4);
        prop_oneof![
            (any::<bool>(), some(), some()).prop_map(|(not, then, other)| Piece::If(not, then, other)),
            some().prop_map(Piece::Each),
        ]
    })
}

fn variables() -> impl Strategy<Value = Variables> {
    let value = prop_oneof![any::<String>(), Just("{{ a }}{% if %}".to_owned()), Just("<&>\"'".to_owned())];
    (value.clone(), value.clone(), any::<bool>(), vec(value, 0..4)).prop_map(|(a, b, yes, items)| Variables {
        a,
        b,
        yes,
        items,
    })
}

impl Variables {
    fn json(&self) -> Value {
        json!({ "a": self.a, "b": self.b, "yes": self.yes, "items": self.items })
    }

    fn get(&self, name: &str) -> &str {
        if name == "a" { &self.a } else { &self.b }
    }
}

/// The template's text. `x` is what a loop is at.
fn write(pieces: &[Piece], out: &mut String) {
    for piece in pieces {
        let _ = match piece {
            Piece::Text(text) => write!(out, "{text}"),
            Piece::Name(name) => write!(out, "{{{{ {name} }}}}"),
            Piece::Upper(name) => write!(out, "{{{{ {name}|upper }}}}"),
            Piece::Both(one, other) => write!(out, "{{{{ {one} ~ {other} }}}}"),
            Piece::If(not, then, other) => {
                let _ = write!(out, "{{% if {}yes %}}", if *not { "not " } else { "" });
                write(then, out);
                out.push_str("{% else %}");
                write(other, out);
                write!(out, "{{% endif %}}")
            }
            Piece::Each(each) => {
                out.push_str("{% for x in items %}{{ x }}");
                write(each, out);
                write!(out, "{{% endfor %}}")
            }
        };
    }
}

/// What it comes to.
fn read(pieces: &[Piece], variables: &Variables, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name(name) => out.push_str(variables.get(name)),
            Piece::Upper(name) => out.push_str(&variables.get(name).to_uppercase()),
            Piece::Both(one, other) => out.extend([variables.get(one), variables.get(other)]),
            Piece::If(not, then, other) => read(if variables.yes == *not { other } else { then }, variables, out),
            Piece::Each(each) => {
                for item in &variables.items {
                    out.push_str(item);
                    read(each, variables, out);
                }
            }
        }
    }
}

fn schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"a": text, "b": text, "yes": {"type": "boolean"}, "items": {"type": "array", "items": text}},
        "required": ["a", "b", "yes", "items"],
        "additionalProperties": false,
    })
}

fn prompt(content: &str, system: Option<String>) -> Prompt {
    let revision = Revision {
        sub_specialty_id: Uuid::nil(),
        title: "T".to_owned(),
        content: content.to_owned(),
        variables: schema(),
        llm_provider: "echo".to_owned(),
        model: String::new(),
        parameters: Parameters { system, ..Parameters::default() },
        is_public: false,
        policy: crate::policy::Policy::default(),
    };
    let mut prompt = Prompt::default();
    prompt.apply(Event::PromptCreated { user_id: Uuid::nil(), revision: Box::new(revision) });
    prompt
}

fn pointers(error: &Error) -> Vec<String> {
    error.faults().into_iter().map(|fault| fault.pointer).collect()
}

proptest! {
    #[test]
    fn what_is_good_is_written_and_renders_to_what_it_says(pieces in vec(piece(), 1..5), variables in variables()) {
        let (mut content, mut expected) = ("!".to_owned(), "!".to_owned());
        write(&pieces, &mut content);
        read(&pieces, &variables, &mut expected);
        // As in Jinja: every end of a line is a line feed.
        let unix = content.replace("\r\n", "\n");
        prop_assume!(unix == content && !content.contains('\r'));
        prop_assert_eq!(check(&content, &schema()), []);
        let prompt = prompt(&content, None);
        let rendered = prompt.render(None, &variables.json()).unwrap();
        prop_assert_eq!(&rendered.messages[0].content, &expected);
    }

    #[test]
    fn what_does_not_fit_is_named(variables in variables(), which in 0..5usize, other in "[~/a-zé ]{1,8}") {
        let mut json = variables.json();
        let fields = json.as_object_mut().unwrap();
        let expected = match which {
            0 => { fields.shift_remove("a"); "/variables/a".to_owned() }
            1 => { fields.insert("b".to_owned(), json!(1)); "/variables/b".to_owned() }
            2 => { fields.insert("yes".to_owned(), json!(null)); "/variables/yes".to_owned() }
            3 => {
                let items = fields["items"].as_array_mut().unwrap();
                items.push(json!({}));
                format!("/variables/items/{}", items.len() - 1)
            }
            _ => {
                prop_assume!(!fields.contains_key(&other));
                fields.insert(other.clone(), json!(0));
                format!("/variables/{}", other.replace('~', "~0").replace('/', "~1"))
            }
        };
        let refused = prompt("{{ a }}", None).render(None, &json).unwrap_err();
        prop_assert_eq!(refused.code(), "invalid_variables");
        prop_assert_eq!(pointers(&refused), [expected]);
    }

    #[test]
    fn a_name_that_is_not_declared_is_told_with_its_line(pieces in vec(piece(), 0..4), more in vec(piece(), 0..4)) {
        let mut content = String::new();
        write(&pieces, &mut content);
        let line = content.matches('\n').count() + 1;
        content.push_str("{{ zz9 }}");
        write(&more, &mut content);
        let faults = check(&content, &schema());
        prop_assert_eq!(faults.len(), 1, "{:?}", faults);
        let said = format!("line {line}: `zz9` is not a variable of the schema");
        prop_assert_eq!((faults[0].pointer.as_str(), &faults[0].detail), ("/content", &said));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    /// Around the limit on purpose.
    #[test]
    fn variables_and_messages_stay_within_their_bound(
        a in 0..RENDERED_BYTES, times in 0..3usize, system in option::of(0..1000usize), near in option::of(-2..3i64),
    ) {
        let mut variables = Variables { a: String::new(), b: String::new(), yes: true, items: Vec::new() };
        let frame = variables.json().to_string().len() + system.unwrap_or(0) + 1;
        let a = match near {
            Some(near) => usize::try_from(i64::try_from((RENDERED_BYTES - frame) / (times + 1)).unwrap() + near).unwrap(),
            None => a,
        };
        variables.a = "a".repeat(a);
        let weight = frame + a * (times + 1);
        let prompt = prompt(&format!(".{}", "{{ a }}".repeat(times)), system.map(|bytes| "s".repeat(bytes)));
        match prompt.render(None, &variables.json()) {
            Ok(rendered) => {
                prop_assert!(weight <= RENDERED_BYTES, "{weight}");
                let sent: usize = rendered.messages.iter().map(|message| message.content.len()).sum();
                prop_assert_eq!(sent + variables.json().to_string().len(), weight);
            }
            Err(refused) => {
                prop_assert!(weight > RENDERED_BYTES, "{weight}: {:?}", refused);
                prop_assert_eq!(pointers(&refused), ["/variables"]);
            }
        }
    }
}
