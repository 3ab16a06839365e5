//! Any commands in any order on a prompt, against a model of it that knows nothing of templates: it is told which ones are
//! good.

use cqrs_es::Aggregate;
use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Changes, Command, Error, Event, Prompt, Revision};
use crate::{Refusal, model::Parameters, store::decide};

/// A template, the variables that it reads, and whether it is one.
const CONTENTS: [(&str, &[&str], bool); 5] = [
    ("plain", &[], true),
    ("{{ a }}", &["a"], true),
    ("{{ a }}{% if b %}\n{{ b }}{% endif %}", &["a", "b"], true),
    ("{% if a %}", &[], false),
    (" ", &[], false),
];
/// A schema, the variables that it declares, and whether it is one.
fn schemas() -> [(Value, &'static [&'static str], bool); 4] {
    [
        (json!({"type": "object"}), &[], true),
        (json!({"type": "object", "properties": {"a": {}}}), &["a"], true),
        (json!({"type": "object", "properties": {"a": {}, "b": {"type": "string"}}}), &["a", "b"], true),
        (json!({"type": "array"}), &[], false),
    ]
}
const TITLES: [(&str, bool); 3] = [("One", true), ("Two", true), (" \t", false)];
const MODELS: [(&str, &str, bool); 4] =
    [("echo", "", true), ("openai", "gpt-4o", true), ("openai", "", false), ("nobody", "gpt-4o", false)];
const TEMPERATURES: [(Option<f64>, bool); 3] = [(None, true), (Some(0.5), true), (Some(2.1), false)];

/// A version as the numbers of its parts in the tables above.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Parts {
    content: usize,
    schema: usize,
    title: usize,
    model: usize,
    temperature: usize,
    is_public: bool,
}

impl Parts {
    /// The pointers of what is wrong with it, in no order.
    fn wrong(self) -> Vec<&'static str> {
        let (_, read, parses) = CONTENTS[self.content];
        let [.., (_, declared, schema)] = &schemas()[..=self.schema] else { unreachable!("there is one") };
        let (provider, _, model) = MODELS[self.model];
        let readable = !schema || read.iter().all(|name| declared.contains(name));
        let undeclared = read.iter().filter(|name| *schema && !declared.contains(name)).map(|_| "/content");
        let mut wrong: Vec<_> = [
            (parses || self.content == 4 && readable, "/content"),
            (self.content != 4, "/content"),
            (*schema, "/variables/type"),
            (TITLES[self.title].1, "/title"),
            (model || provider != "nobody", "/llm_provider"),
            (model || provider != "openai", "/model"),
            (TEMPERATURES[self.temperature].1, "/parameters/temperature"),
        ]
        .into_iter()
        .filter_map(|(fine, pointer)| (!fine).then_some(pointer))
        .collect();
        wrong.extend(undeclared);
        wrong.sort_unstable();
        wrong
    }

    fn parameters(self) -> Parameters {
        Parameters { temperature: TEMPERATURES[self.temperature].0, ..Parameters::default() }
    }

    fn revision(self) -> Revision {
        Revision {
            sub_specialty_id: Uuid::from_u128(9),
            title: TITLES[self.title].0.to_owned(),
            content: CONTENTS[self.content].0.to_owned(),
            variables: schemas()[self.schema].0.clone(),
            llm_provider: MODELS[self.model].0.to_owned(),
            model: MODELS[self.model].1.to_owned(),
            parameters: self.parameters(),
            is_public: self.is_public,
            policy: crate::policy::Policy::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Revise,
    Archive,
}

/// What is asked of the prompt: by whom, with which parts. To make it, all of them are taken; to revise it, those that are
/// named.
#[derive(Debug, Clone)]
struct Asked {
    verb: Verb,
    by: Uuid,
    parts: Parts,
    named: [bool; 5],
}

prop_compose! {
    fn parts()(
        // The good ones are frequent, or nothing would ever come to be.
        content in prop_oneof![4 => 0..3usize, 1 => 0..5usize], schema in prop_oneof![4 => Just(2usize), 1 => 0..4usize],
        title in prop_oneof![4 => 0..2usize, 1 => 0..3usize], model in prop_oneof![4 => 0..2usize, 1 => 0..4usize],
        temperature in prop_oneof![4 => 0..2usize, 1 => 0..3usize], is_public: bool,
    ) -> Parts {
        Parts { content, schema, title, model, temperature, is_public }
    }
}

prop_compose! {
    fn asked()(
        verb in prop_oneof![3 => Just(Verb::Create), 10 => Just(Verb::Revise), 1 => Just(Verb::Archive)], by in sample::select(vec![Uuid::from_u128(1), Uuid::from_u128(2)]),
        parts in parts(), named: [bool; 5],
    ) -> Asked {
        Asked { verb, by, parts, named }
    }
}

/// The model: its owner, and its versions.
#[derive(Debug, Default)]
struct Model {
    owner: Option<Uuid>,
    versions: Vec<Parts>,
    archived: bool,
}

impl Model {
    /// What becomes of it: the refusal's code with its pointers.
    fn ask(&mut self, asked: &Asked) -> Result<(), (&'static str, Vec<&'static str>)> {
        let refuse = |code| Err((code, Vec::new()));
        let parts = match (asked.verb, self.versions.last()) {
            (Verb::Create, Some(_)) => return refuse("prompt_exists"),
            (Verb::Create, None) => asked.parts,
            (_, None) => return refuse("not_found"),
            (_, Some(newest)) if self.owner != Some(asked.by) => {
                return refuse(if newest.is_public { "not_owner" } else { "not_found" });
            }
            (Verb::Archive, Some(_)) => {
                self.archived = true;
                return Ok(());
            }
            (Verb::Revise, Some(_)) if self.archived => return refuse("illegal_transition"),
            (Verb::Revise, Some(newest)) => {
                let [content, schema, title, model, rest] = asked.named;
                Parts {
                    content: if content { asked.parts.content } else { newest.content },
                    schema: if schema { asked.parts.schema } else { newest.schema },
                    title: if title { asked.parts.title } else { newest.title },
                    model: if model { asked.parts.model } else { newest.model },
                    temperature: if rest { asked.parts.temperature } else { newest.temperature },
                    is_public: if rest { asked.parts.is_public } else { newest.is_public },
                }
            }
        };
        let wrong = parts.wrong();
        if !wrong.is_empty() {
            return Err(("invalid_prompt", wrong));
        }
        self.owner = self.owner.or(Some(asked.by));
        self.versions.push(parts);
        Ok(())
    }
}

fn command(asked: &Asked) -> Command {
    let revision = asked.parts.revision();
    match asked.verb {
        Verb::Create => return Command::Create { user_id: asked.by, revision: Box::new(revision) },
        Verb::Archive => return Command::Archive { user_id: asked.by },
        Verb::Revise => {}
    }
    let [content, schema, title, model, rest] = asked.named;
    let changes = Box::new(Changes {
        sub_specialty_id: None,
        title: title.then_some(revision.title),
        content: content.then_some(revision.content),
        variables: schema.then_some(revision.variables),
        llm_provider: model.then_some(revision.llm_provider),
        model: model.then_some(revision.model),
        parameters: rest.then_some(revision.parameters),
        is_public: rest.then_some(revision.is_public),
        policy: rest.then_some(revision.policy),
    });
    Command::Revise { user_id: asked.by, changes }
}

fn told(error: &Error) -> (&'static str, Vec<String>) {
    let mut pointers: Vec<String> = error.faults().into_iter().map(|fault| fault.pointer).collect();
    pointers.sort_unstable();
    (error.code(), pointers)
}

proptest! {
    #[test]
    fn any_commands_in_any_order(all in vec(asked(), 0..12), wanted in option::of(-1..14i32)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut prompt, mut model) = (Prompt::default(), Model::default());
        let mut history: Vec<Event> = Vec::new();
        for asked in &all {
            let before = prompt.clone();
            let expected = model.ask(asked);
            match runtime.block_on(decide(&mut prompt, command(asked))) {
                Ok(events) => {
                    prop_assert_eq!(expected, Ok(()), "{:?}", asked);
                    history.extend(events);
                }
                Err(error) => {
                    let (code, pointers) = told(&error);
                    let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
                    prop_assert_eq!(Err((code, pointers)), expected, "{:?}", asked);
                    prop_assert_eq!(&prompt, &before, "a refusal changes nothing");
                }
            }
        }
        // It is what the model is, and its events tell the same.
        let revisions: Vec<Revision> = model.versions.iter().map(|parts| parts.revision()).collect();
        prop_assert_eq!(&prompt.revisions, &revisions);
        prop_assert_eq!(history.len(), revisions.len() + usize::from(model.archived), "it is archived once");
        prop_assert_eq!(prompt.archived, model.archived);
        let mut loaded = Prompt::default();
        for event in history {
            loaded.apply(event);
        }
        prop_assert_eq!(&loaded, &prompt);
        // Who may see it and run which version.
        let newest = model.versions.len();
        let index = wanted.map_or(newest.checked_sub(1), |n| usize::try_from(n).ok().and_then(|n| n.checked_sub(1)));
        let version = index.and_then(|index| model.versions.get(index));
        prop_assert_eq!(prompt.revision(wanted).ok().map(|found| found.1.clone()), version.map(|parts| parts.revision()));
        for (user, admin) in [(1, false), (2, false), (2, true)] {
            let user = Uuid::from_u128(user);
            let theirs = model.owner == Some(user) || admin;
            let seen = model.versions.last().is_some_and(|parts| parts.is_public || theirs);
            prop_assert_eq!(prompt.is_visible_to(user, admin), seen);
            let run = seen && (theirs || version.is_none_or(|parts| parts.is_public));
            prop_assert_eq!(prompt.is_runnable_by(user, admin, wanted), run);
        }
    }
}
