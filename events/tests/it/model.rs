//! Any commands on users and on the catalogue, on a real log, against a model of it: names are unique as they should be, the
//! first user is the admin, a repeated key is the same command, and what was refused has left nothing behind.

use std::{collections::BTreeMap, sync::LazyLock};

use events::{
    Call, Error, Key, Refusal, Requirement, Store, Stream,
    catalog::{NewSpecialty, NewSubSpecialty, Specialty, SpecialtyCommand, SubSpecialty, SubSpecialtyCommand},
    execute_requiring,
    identity::{self, User},
};
use proptest::{collection::vec, option, prelude::*};
use service::testkit;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::rig::{meta, open};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A command: on which thing, and what. Numbers stand for names; the other spelling is the same name.
#[derive(Debug, Clone)]
enum Asked {
    Register { id: u8, email: u8, username: u8, first: bool },
    Specialty { id: u8, name: u8 },
    SubSpecialty { id: u8, parent: u8, name: u8 },
}

/// And how: in which spelling, with which key, of which of two requests.
#[derive(Debug, Clone)]
struct How {
    upper: bool,
    key: Option<(u8, bool)>,
}

fn asked() -> impl Strategy<Value = (Asked, How)> {
    let small = || 0..4u8;
    let what = prop_oneof![
        (small(), small(), small(), any::<bool>()).prop_map(|(id, email, username, first)| Asked::Register {
            id,
            email,
            username,
            first
        }),
        (small(), small()).prop_map(|(id, name)| Asked::Specialty { id, name }),
        (small(), small(), small()).prop_map(|(id, parent, name)| Asked::SubSpecialty { id, parent, name }),
    ];
    let key = option::weighted(0.3, (0..3u8, prop::bool::weighted(0.8)));
    (what, (any::<bool>(), key).prop_map(|(upper, key)| How { upper, key }))
}

fn id(kind: u128, number: u8) -> Uuid {
    Uuid::from_u128((kind << 8) + u128::from(number) + 1)
}

fn name(number: u8, upper: bool) -> String {
    let name = format!("name{number}ä");
    if upper { format!(" {}", name.to_uppercase()) } else { name }
}

/// The model: what there is, who holds what, and what each key was used for.
#[derive(Debug, Default)]
struct Model {
    things: BTreeMap<Uuid, i64>,
    held: BTreeMap<(&'static str, u8, u8), Uuid>,
    keys: BTreeMap<u8, (bool, Uuid, i64)>,
    log: Vec<(Uuid, &'static str)>,
}

impl Model {
    /// The thing and its position, and whether it was known by its key; or the refusal's code.
    fn ask(&mut self, asked: &Asked, how: &How) -> Result<(Uuid, i64, bool), &'static str> {
        if let Some((key, request)) = how.key
            && let Some((used, id, position)) = self.keys.get(&key)
        {
            return if *used == request { Ok((*id, *position, true)) } else { Err("key_reused") };
        }
        let (id, kind, exists, claims) = match *asked {
            Asked::Register { id: number, email, username, first } => {
                let mut claims =
                    vec![(("email", 0, email), "email_taken"), (("username", 0, username), "username_taken")];
                claims.extend(first.then_some((("bootstrap", 0, 0), "bootstrap_taken")));
                (id(1, number), "user_registered", "user_exists", claims)
            }
            Asked::Specialty { id: number, name } => {
                (id(2, number), "specialty_created", "exists", vec![(("specialty", 0, name), "name_taken")])
            }
            Asked::SubSpecialty { id: number, parent, name } => {
                (id(3, number), "sub_specialty_created", "exists", vec![(("sub", parent, name), "name_taken")])
            }
        };
        if self.things.contains_key(&id) {
            return Err(exists);
        }
        if let Asked::SubSpecialty { parent, .. } = asked
            && !self.things.contains_key(&self::id(2, *parent))
        {
            return Err("no_such_specialty");
        }
        if let Some((_, taken)) = claims.iter().find(|(claim, _)| self.held.contains_key(claim)) {
            return Err(taken);
        }
        self.held.extend(claims.into_iter().map(|(claim, _)| (claim, id)));
        self.log.push((id, kind));
        let position = i64::try_from(self.log.len()).unwrap();
        self.things.insert(id, position);
        if let Some((key, request)) = how.key {
            self.keys.insert(key, (request, id, position));
        }
        Ok((id, position, false))
    }
}

async fn send<A: Stream>(
    store: &Store,
    id: Uuid,
    command: A::Command,
    how: &How,
    needs: &[Requirement<A::Error>],
) -> Result<(Uuid, i64, bool), String> {
    let key = how.key.map(|(key, request)| Key {
        caller: Uuid::nil(),
        key: format!("POST /\n{key}"),
        request: [u8::from(request); 32],
    });
    match execute_requiring::<A>(store, id, command, Call { key, ..Call::from(meta()) }, needs).await {
        Ok(receipt) => Ok((receipt.id, receipt.position, receipt.replayed)),
        Err(Error::Refused(refusal)) => Err(refusal.code().to_owned()),
        Err(Error::KeyReused) => Err("key_reused".to_owned()),
        Err(other) => panic!("{other:?}"),
    }
}

async fn ask(store: &Store, asked: &Asked, how: &How) -> Result<(Uuid, i64, bool), String> {
    match *asked {
        Asked::Register { id: number, email, username, first } => {
            let (email, username) = (name(email, how.upper), name(username, !how.upper));
            let command = identity::Command::Register { email, username, first };
            send::<User>(store, id(1, number), command, how, &[]).await
        }
        Asked::Specialty { id: number, name: named } => {
            let (name, description) = (name(named, how.upper), String::new());
            let command = SpecialtyCommand::Create(NewSpecialty { name, description, icon_url: None });
            send::<Specialty>(store, id(2, number), command, how, &[]).await
        }
        Asked::SubSpecialty { id: number, parent, name: named } => {
            let (name, description) = (name(named, how.upper), String::new());
            let specialty_id = id(2, parent);
            let command = SubSpecialtyCommand::Create(NewSubSpecialty { specialty_id, name, description });
            let needs = SubSpecialty::requirements(&command, id(3, number));
            send::<SubSpecialty>(store, id(3, number), command, how, &needs).await
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 32, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(all in vec(asked(), 1..40)) {
        RUNTIME.block_on(async {
            let database = testkit::database().await;
            let (store, _writer) = open(&database);
            let mut model = Model::default();
            for (asked, how) in &all {
                let expected = model.ask(asked, how).map_err(str::to_owned);
                prop_assert_eq!(ask(&store, asked, how).await, expected, "{:?} {:?}", asked, how);
            }
            let events = store.after(0, 1000).await.unwrap();
            let found: Vec<(Uuid, &str)> = events.iter().map(|event| (event.id, event.kind.as_str())).collect();
            prop_assert_eq!(found, model.log);
            for (position, event) in (1..).zip(&events) {
                prop_assert_eq!((event.position, event.version), (position, 1));
            }
            // And as it is loaded again.
            for number in 0..4 {
                let user = store.load::<User>(id(1, number)).await.unwrap().aggregate;
                prop_assert_eq!(user.registered, model.things.contains_key(&id(1, number)));
                prop_assert_eq!(user.is_admin(), model.held.get(&("bootstrap", 0, 0)) == Some(&id(1, number)));
                let specialty = store.load::<Specialty>(id(2, number)).await.unwrap().aggregate;
                prop_assert_eq!(specialty.is_live(), model.things.contains_key(&id(2, number)));
            }
            Ok(())
        })?;
    }
}
