//! Any history, any filters, any callers, several writers, dropped and resumed anywhere: all that is wanted, once, in order.

use std::sync::LazyLock;

use events::{Store, clock};
use proptest::{collection::vec, option, prelude::*, sample};
use tokio::{runtime::Runtime, sync::watch};
use uuid::Uuid;

use crate::{
    listening::{Listening, Message, happen},
    world::{Person, World, within},
};

/// One API and one log for all cases; each has users of its own.
static API: LazyLock<(Runtime, World)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    (runtime, world)
});

/// What can happen: whose (0 and 1: a user's, 2: nobody's), and what.
const HAPPENINGS: [(&str, &str); 5] = [
    ("prompt", "prompt_created"),
    ("prompt", "prompt_revised"),
    ("execution", "execution_requested"),
    ("specialty", "specialty_created"),
    ("ops", "projection_switched"),
];

type Happening = (usize, usize);

/// Who listens for what, from where (none: the beginning of all; else so many after the case's), and where the stream is cut.
#[derive(Debug, Clone)]
struct Listener {
    who: usize,
    scope: Option<usize>,
    stream: Option<&'static str>,
    kind: Option<&'static str>,
    from: Option<i64>,
    cuts: Vec<usize>,
}

fn listener() -> impl Strategy<Value = Listener> {
    let kinds = vec!["prompt_created", "execution_requested", "specialty_created"];
    let streams = vec!["prompt", "execution", "specialty"];
    let wanted =
        (0..3usize, option::of(0..3usize), option::of(sample::select(streams)), option::of(sample::select(kinds)));
    (wanted, option::of(0..6i64), vec(0..6usize, 0..5)).prop_map(|((who, scope, stream, kind), from, cuts)| {
        // A user asks for no other's; a kind has its stream.
        let scope = scope.filter(|scope| who == 2 || *scope == who || *scope == 2);
        let kind = kind.filter(|kind| stream.is_none_or(|stream| kind.starts_with(stream)));
        Listener { who, scope, stream, kind, from, cuts }
    })
}

/// Two users and an admin.
struct People([Person; 3]);

impl People {
    fn new() -> Self {
        let number = || clock::id().as_u128();
        Self([Person::new(number(), false), Person::new(number(), false), Person::new(number(), true)])
    }

    fn scope(&self, of: usize) -> Option<Uuid> {
        (of < 2).then(|| self.0[of].id)
    }

    async fn happen(&self, store: &Store, happenings: &[Happening]) {
        for (whose, what) in happenings {
            let (stream, kind) = HAPPENINGS[*what % HAPPENINGS.len()];
            happen(store, stream, self.scope(*whose), kind, 1).await;
        }
    }

    fn path(&self, listener: &Listener, after: i64) -> String {
        let scope = listener.scope.map(|scope| self.scope(scope).map_or("public".to_owned(), |id| id.to_string()));
        let query = [("scope", scope.as_deref()), ("stream", listener.stream), ("kind", listener.kind)];
        let query = query.iter().filter_map(|(name, value)| Some(format!("&{name}={}", (*value)?)));
        format!("/api/v1/events?after={after}{}", query.collect::<String>())
    }

    /// The positions of all that `listener` is to have, by the words of the contract and SQL.
    async fn wanted(&self, world: &World, listener: &Listener, after: i64) -> Vec<i64> {
        let me = self.0[listener.who].id;
        let admin = listener.who == 2;
        sqlx::query_scalar(
            "select position from event where position > $1
             and ($2 or (stream <> 'ops' and (scope = $3 or scope is null)))
             and ($4::text is null or coalesce(scope::text, 'public') = $4)
             and ($5::text is null or stream = $5) and ($6::text is null or kind = $6) order by position",
        )
        .bind(after)
        .bind(admin)
        .bind(me)
        .bind(listener.scope.map(|scope| self.scope(scope).map_or("public".to_owned(), |id| id.to_string())))
        .bind(listener.stream)
        .bind(listener.kind)
        .fetch_all(&world.pool)
        .await
        .unwrap()
    }

    /// Listens until it has as many as it is told, cutting the stream where it is to be cut.
    async fn listen(
        &self,
        world: &World,
        listener: &Listener,
        after: i64,
        mut until: watch::Receiver<usize>,
    ) -> Vec<i64> {
        let (person, path) = (&self.0[listener.who], self.path(listener, after));
        let (mut heard, mut last) = (Vec::new(), after);
        let mut cuts = listener.cuts.iter();
        loop {
            let mut listening = Listening::to(world, person, &path, Some(&last.to_string())).await;
            let mut left = cuts.next().copied().unwrap_or(usize::MAX);
            while left > 0 {
                if heard.len() >= *until.borrow_and_update() {
                    return heard;
                }
                let message = tokio::select! {
                    message = listening.coming() => message,
                    _ = until.changed() => continue,
                };
                let Message { id, event, more, .. } = message.expect("it goes on");
                assert_eq!(more.trim_matches(':'), "");
                left -= 1;
                if let Some(id) = id {
                    assert!(id >= last, "{id} after {last}");
                    last = id;
                    heard.extend(event.map(|_| id));
                }
            }
        }
    }

    /// The same as pages, of so many each.
    async fn pages(&self, world: &World, listener: &Listener, after: i64, limit: usize) -> Vec<i64> {
        let (person, path) = (&self.0[listener.who], self.path(listener, after));
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let place = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let answer = world.get(person, &format!("{path}&limit={limit}{place}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let items = answer.body["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            all.extend(items.iter().map(|item| item["position"].as_i64().unwrap()));
            cursor = answer.body["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return all;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn all_that_is_wanted_once_and_in_order(
        before in vec((0..3usize, 0..5usize), 0..40), mine in vec((0..3usize, 0..5usize), 0..30),
        others in vec((0..3usize, 0..5usize), 0..30), listeners in vec(listener(), 1..5), limit in 1..=100usize,
    ) {
        let (runtime, world) = &*API;
        let told = runtime.block_on(within("the case", async {
            let people = People::new();
            let base = world.store.head().await.unwrap();
            people.happen(&world.store, &before).await;
            let listening = listeners.iter().map(|listener| {
                let after = listener.from.map_or(0, |from| base + from.min(i64::try_from(before.len()).unwrap()));
                let (until, receiver) = watch::channel(usize::MAX);
                (after, until, receiver)
            });
            let listening: Vec<_> = listening.collect();
            let happening = async {
                let other = world.other_writer();
                tokio::join!(people.happen(&world.store, &mine), people.happen(&other, &others));
                // Something that each wants comes last: what is repeated or skipped before that shows.
                for listener in &listeners {
                    let stream = listener.stream.or(listener.kind.map(|kind| kind.split('_').next().unwrap()));
                    let (stream, kind) = (stream.unwrap_or("prompt"), listener.kind);
                    let first = HAPPENINGS.iter().find(|(one, _)| *one == stream).unwrap().1;
                    let scope = people.scope(listener.scope.unwrap_or(listener.who));
                    happen(&world.store, stream, scope, kind.unwrap_or(first), 1).await;
                }
                for (listener, (after, until, _)) in listeners.iter().zip(&listening) {
                    until.send_replace(people.wanted(world, listener, *after).await.len());
                }
            };
            let hearing = listeners.iter().zip(&listening).map(|(listener, (after, _, until))| {
                people.listen(world, listener, *after, until.clone())
            });
            let (heard, ()) = tokio::join!(futures_util::future::join_all(hearing), happening);
            let mut told = Vec::new();
            for ((listener, (after, ..)), heard) in listeners.iter().zip(&listening).zip(heard) {
                let wanted = people.wanted(world, listener, *after).await;
                let pages = people.pages(world, listener, *after, limit).await;
                told.push((listener.clone(), heard, pages, wanted));
            }
            told
        }));
        for (listener, heard, pages, wanted) in told {
            prop_assert_eq!(&heard, &wanted, "{:?}", listener);
            prop_assert_eq!(&pages, &wanted, "{:?}", listener);
        }
    }
}
