//! Companies, and each who was ever a member of one.

use std::sync::Arc;

use events::{
    Meta, Recorded, Role,
    company::{Event, SettingsChanges, row},
    execute,
    item::{Command, Item, NewItem},
    read_model::Row,
    store::{Append, New},
};
use projectors::{
    contexts::company::COMPANY,
    rebuild::{Progress, Workshop},
    row::Row as _,
    verify::{self, Options},
};
use service::{
    db::{self, Kind},
    testkit,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    folds::{same, twice},
    rebuilds::project,
    runners::log,
};

const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

fn happened() -> Vec<Event> {
    let currency = |currency: Option<&str>| SettingsChanges {
        currency: events::Patch::Set(currency.map(str::to_owned)),
        ..SettingsChanges::default()
    };
    vec![
        Event::CompanyCreated { name: "Acme".to_owned() },
        Event::MemberJoined { user_id: ADA, role: Role::Owner },
        Event::MemberJoined { user_id: BOB, role: Role::Viewer },
        Event::CompanySettingChanged(currency(Some("EUR"))),
        Event::MemberRoleChanged { user_id: BOB, role: Role::Admin },
        Event::MemberLeft { user_id: BOB },
        Event::CompanyRenamed { name: "Ajax".to_owned() },
        Event::MemberJoined { user_id: BOB, role: Role::Editor },
        Event::CompanySettingChanged(currency(Some("CHF"))),
        Event::MemberRemoved { user_id: BOB },
        Event::CompanyArchived {},
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_the_fold_of_the_log_however_it_is_cut_and_a_flipped_role_is_found() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let meta = || Meta { actor: Some(ADA), correlation_id: ADA, causation_id: None, traceparent: None };
    let company = Uuid::from_u128(0xc0);
    for (version, event) in (0..).zip(happened()) {
        let append = Append {
            stream: "company",
            id: company,
            expected: version,
            scope: Some(company),
            events: vec![New::of(&event, events::clock::id()).unwrap()],
            meta: meta(),
            releases: vec![],
            claims: vec![],
            conditions: vec![],
            secrets: vec![],
            timers: vec![],
            key: None,
        };
        store.append(append).await.unwrap().unwrap();
        // Between them something that is not for this projection.
        let new = NewItem { name: format!("{version}"), note: None };
        execute::<Item>(&store, events::clock::id(), Command::Create(company, new), meta()).await.unwrap();
    }
    let recorded: Vec<Arc<Recorded>> = store.after(0, 100).await.unwrap().into_iter().map(Arc::new).collect();
    for sizes in [vec![1], vec![3, 5, 1], vec![100]] {
        twice(&COMPANY, pool, &recorded, &sizes).await;
        same(pool, &recorded, Row::<row::Company>::load).await;
    }
    let (name, archived, settings): (String, bool, String) =
        sqlx::query_as("select name, archived, settings::text from company").fetch_one(pool).await.unwrap();
    assert_eq!((name.as_str(), archived), ("Ajax", true));
    assert!(settings.contains(r#""locale":null,"currency":"CHF""#), "{settings}");
    let members: Vec<(Uuid, Option<String>, i32)> =
        sqlx::query_as("select user_id, role, version from company_member order by user_id")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(members, [(ADA, Some("owner".to_owned()), 2), (BOB, None, 10)]);

    crate::folds::clear(&COMPANY, pool).await;
    project(&COMPANY, pool, &store).await;
    sqlx::query("update company_member set role = 'owner' where user_id = $1").bind(BOB).execute(pool).await.unwrap();
    let workshop = Workshop::new(&store, db::beside(pool, Kind::Rebuild));
    let options = Options { share: 64.0, ..Options::default() };
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let found = verify::verify(&COMPANY, &workshop, options, &progress, &stop).await.unwrap().findings;
    assert_eq!(found.len(), 1, "who is none any more and has a role");
}
