//! A row that is not what the log says is named with the first event after which the two differ, however long its history is.

use std::collections::BTreeMap;

use events::{Fold as _, Recorded, Store, fold, policy::Policy, prompt, prompt::Revision, store::New};
use projectors::{
    Projection,
    execution::EXECUTIONS,
    prompt::{PROMPTS, Prompt},
    rebuild::{Progress, Workshop},
    verify::{self, Finding, Options},
};
use service::{
    db::{self, Kind},
    testkit::{self, Database},
};
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    history::record,
    rebuilds::{project, script},
    runners::log,
};

const PROMPT: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
/// How many events the long one has.
const LONG: i32 = 2500;

async fn found(projection: &'static Projection, workshop: &Workshop) -> Vec<Finding> {
    let options = Options { share: 64.0, ..Options::default() };
    verify::verify(projection, workshop, options, &Progress::default(), &CancellationToken::new())
        .await
        .unwrap()
        .findings
}

/// A prompt whose columns change at different paces, and come back to earlier values.
async fn revise(store: &Store) -> Vec<Recorded> {
    let revised = |version: i32| {
        let revision = Box::new(Revision {
            sub_specialty_id: Uuid::from_u128(1),
            title: format!("Title {}", version / 10 % 7),
            content: format!("Content {}", version / 600),
            variables: serde_json::json!({ "type": "object" }),
            llm_provider: "echo".to_owned(),
            model: format!("model-{}", version / 1000),
            parameters: events::model::Parameters::default(),
            is_public: version >= 1800,
            policy: Policy::default(),
        });
        let user_id = Uuid::from_u128(1);
        if version == 1 {
            prompt::Event::PromptCreated { user_id, revision }
        } else {
            prompt::Event::PromptRevised { user_id, revision }
        }
    };
    let versions: Vec<i32> = (1..=LONG).collect();
    for chunk in versions.chunks(250) {
        let of = |version: &i32| {
            New::of(&revised(*version), Uuid::from_u128(u128::try_from(*version).unwrap() << 64)).unwrap()
        };
        crate::history::append_all(store, "prompt", PROMPT, chunk[0] - 1, chunk.iter().map(of).collect()).await;
    }
    store.stream("prompt", PROMPT).await.unwrap()
}

async fn world() -> (Database, Workshop, Vec<Recorded>) {
    let database = testkit::database().await;
    let store = log(&database);
    // Others, before it, so that positions are not versions.
    record(&store, &script(31)).await;
    let history = revise(&store).await;
    project(&PROMPTS, &database.pool, &store).await;
    project(&EXECUTIONS, &database.pool, &store).await;
    let workshop = Workshop::new(&store, db::beside(&database.pool, Kind::Rebuild));
    (database, workshop, history)
}

async fn execute(database: &Database, sql: &str) {
    let changed = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&database.pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1, "{sql}");
}

/// Since which version of the prompt each column differs.
fn since(finding: &Finding) -> BTreeMap<&str, i32> {
    let columns = finding.columns.iter();
    columns.map(|(name, values)| (name.as_str(), values.event.as_ref().map_or(0, |event| event.version))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_event_after_which_a_row_differs_is_named_however_many_there_are() {
    let (database, workshop, history) = world().await;
    let as_of = |version: i32, columns: &str, more: &str| {
        format!(
            "update prompt p
             set ({columns}) = (select {columns} from prompt_version v where v.id = p.id and v.version = {version}){more}
             where p.id = '{PROMPT}'"
        )
    };
    let update = |what: &str| format!("update prompt set {what} where id = '{PROMPT}'");
    // What is done to the row, and since which version each of its columns differs then.
    let corruptions: [(String, &[(&str, i32)]); 9] = [
        // Values that the log never gave: since the last event that set the column.
        (update("title = 'mallory'"), &[("title", 2500)]),
        (update("content = 'mallory'"), &[("content", 2400)]),
        (update("llm_provider = 'mallory'"), &[("llm_provider", 1)]),
        (update("created_at = created_at + interval '1 microsecond'"), &[("created_at", 1)]),
        (update("position = position - 1"), &[("position", 2500)]),
        // One that it gave over and over, and last at version 2459.
        (update("title = 'Title 0'"), &[("title", 2460)]),
        (update("is_public = false"), &[("is_public", 1800)]),
        // It missed its last events, in part.
        (as_of(1999, "title, content, model, is_public", ""), &[("content", 2400), ("model", 2000), ("title", 2490)]),
        // It missed all events from 1201 on, and its title is none of the log's besides.
        (
            as_of(1200, "content, model, is_public, version, position", ", title = 'x'"),
            &[
                ("content", 1800),
                ("is_public", 1800),
                ("model", 2000),
                ("position", 1201),
                ("title", 2500),
                ("version", 1201),
            ],
        ),
    ];
    for (sql, expected) in corruptions {
        let before: String = sqlx::query_scalar("select p::text from prompt p where id = $1")
            .bind(PROMPT)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        execute(&database, &sql).await;
        let findings = found(&PROMPTS, &workshop).await;
        let [finding] = &findings[..] else { panic!("{sql}: {findings:?}") };
        assert_eq!((finding.relation.as_str(), finding.thing, finding.change.as_str()), ("prompt", PROMPT, "changed"));
        assert_eq!(since(finding), expected.iter().copied().collect(), "{sql}");
        let first = expected.iter().map(|(_, version)| *version).min().unwrap();
        let event = &history[usize::try_from(first).unwrap() - 1];
        assert_eq!(finding.event_position, Some(event.position), "{sql}");
        verify::repair(&PROMPTS, &workshop, finding).await.unwrap();
        let after: String = sqlx::query_scalar("select p::text from prompt p where id = $1")
            .bind(PROMPT)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(before, after);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_for_each_version_is_named_with_its_own_event() {
    let (database, workshop, history) = world().await;
    let version = |number: i32| format!("where id = '{PROMPT}' and version = {number}");
    execute(&database, &format!("update prompt_version set content = 'mallory' {}", version(1234))).await;
    execute(&database, &format!("delete from prompt_version {}", version(77))).await;
    execute(
        &database,
        &format!(
            "insert into prompt_version select id, version + 5000, user_id, sub_specialty_id, title, content, variables,
             llm_provider, model, parameters, is_public, created_at, position from prompt_version {}",
            version(9)
        ),
    )
    .await;
    let findings = found(&PROMPTS, &workshop).await;
    let told = findings.iter().map(|one| (one.row_version.unwrap(), (one.change.as_str(), one.event_position)));
    let told: BTreeMap<_, _> = told.collect();
    let at = |version: usize| Some(history[version - 1].position);
    // No event makes the row of a version that there never was.
    let expected = [(77, ("missing", at(77))), (1234, ("changed", at(1234))), (5009, ("foreign", None))];
    assert_eq!(told, expected.into());
}

/// The definition, by the folds at each event.
fn by_definition(history: &[Recorded], live: &str, of: impl Fn(&Prompt) -> String) -> i32 {
    let (mut row, mut folds) = (None, Vec::new());
    for event in history {
        row = Some(Prompt::next(row, event).map_err(|error: fold::Error| error.to_string()).unwrap());
        folds.push(row.as_ref().map(&of).unwrap());
    }
    let agreed = folds.iter().rposition(|fold| fold == live);
    let set = folds.iter().rposition(|fold| fold != &folds[folds.len() - 1]);
    i32::try_from(agreed.or(set).map_or(0, |index| index + 1) + 1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_value_that_a_column_ever_had_or_never_is_named_as_it_is_defined() {
    let (database, workshop, history) = world().await;
    for title in (0..8).map(|n| format!("Title {n}")) {
        let now: String = sqlx::query_scalar("select title from prompt where id = $1")
            .bind(PROMPT)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        if title == now {
            continue;
        }
        execute(&database, &format!("update prompt set title = '{title}' where id = '{PROMPT}'")).await;
        let findings = found(&PROMPTS, &workshop).await;
        let [finding] = &findings[..] else { panic!("{title}: {findings:?}") };
        let expected = by_definition(&history, &title, |prompt| prompt.title.clone());
        assert_eq!(since(finding), [("title", expected)].into(), "{title}");
        verify::repair(&PROMPTS, &workshop, finding).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_is_named_by_what_it_went_through() {
    let (database, workshop, _) = world().await;
    let (thing, cost): (Uuid, Option<String>) = sqlx::query_as(
        "select id, cost::text from execution where status = 'succeeded' and cost is not null order by id limit 1",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert!(cost.is_some());
    let history = workshop.store.stream("execution", thing).await.unwrap();
    let kind = |finding: &Finding| finding.event_kind.clone().unwrap();
    for (flip, expected) in [
        ("cost = cost + 1", "execution_succeeded"),
        ("cost = null", "execution_succeeded"),
        ("status = 'queued'", ""),
        ("model = 'other'", "execution_requested"),
        ("created_at = created_at - interval '1 hour'", "execution_requested"),
        ("result = null, status = 'failed'", "execution_succeeded"),
    ] {
        execute(&database, &format!("update execution set {flip} where id = '{thing}'")).await;
        let findings = found(&EXECUTIONS, &workshop).await;
        let [finding] = &findings[..] else { panic!("{flip}: {findings:?}") };
        if expected.is_empty() {
            // The first event by which it was queued no more.
            let first = history.iter().find(|event| {
                !matches!(
                    &*event.kind,
                    "execution_requested" | "execution_cancel_requested" | "execution_attempt_failed"
                )
            });
            assert_eq!(finding.event_position, first.map(|event| event.position));
        } else {
            assert_eq!(kind(finding), expected, "{flip}");
        }
        verify::repair(&EXECUTIONS, &workshop, finding).await.unwrap();
    }
}
