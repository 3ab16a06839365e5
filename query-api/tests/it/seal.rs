//! Receipts and heads, as whoever does not trust us checks them.

use events::{
    clock,
    seal::{
        Frontier, Head, Keys, Receipt, SignedHead, SigningKey, proof,
        receipt::Invalid,
        table::{self, Sealed},
    },
};
use poem::{Endpoint as _, Request};
use sqlx::Executor as _;
use uuid::Uuid;

use crate::{
    events::happened,
    world::{Answer, Person, World, within},
};

/// What somebody makes of a receipt.
type Change = fn(&mut Receipt);

/// What seals the log of a test, from the first event on.
struct Seal {
    key: SigningKey,
    frontier: Frontier,
}

impl Seal {
    async fn new(world: &World) -> Self {
        let key = SigningKey::generate().unwrap();
        table::begin(&world.store, &key.public()).await.unwrap();
        Self { key, frontier: Frontier::default() }
    }

    /// A head of all that the log has.
    async fn seal(&mut self, world: &World) -> SignedHead {
        let (previous, (size, epoch)) = (self.frontier.size(), table::end(&world.store).await.unwrap());
        let hashes = table::hashes(&world.store, previous, size).await.unwrap();
        let mut kept = Vec::new();
        for hash in table::each(&hashes) {
            self.frontier.push(hash, |subtree| kept.push(subtree));
        }
        let root = self.frontier.root().unwrap();
        let head = Head { size, root, epoch, time: clock::now() }.sign(&self.key);
        assert!(table::put(&world.store, &Sealed { head, previous, hashes, kept }).await.unwrap());
        head
    }
}

fn path(id: u128) -> String {
    format!("/api/v1/executions/{}/receipt", Uuid::from_u128(id))
}

fn receipt(answer: &Answer) -> Receipt {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body.clone()).unwrap()
}

/// The keys as they are published, which nobody needs a token for.
async fn published(world: &World) -> Keys {
    let response = world.app.get_response(Request::builder().uri_str("/api/v1/log/key").finish()).await;
    assert_eq!(response.status().as_u16(), 200);
    Keys::from_pem(&response.into_body().into_string().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_receipt_proves_an_execution_to_whoever_has_the_key() {
    let world = World::new().await;
    let (ada, bob, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let mut seal = Seal::new(&world).await;
    happened(&world, 10, ada.id, &["execution_requested", "execution_started"]).await;
    // So that the proofs go through kept subtrees as well as through leaves.
    for other in 0..700 {
        happened(&world, 1_000 + other, bob.id, &["execution_requested"]).await;
    }
    seal.seal(&world).await;
    happened(&world, 10, ada.id, &["execution_succeeded"]).await;
    let head = seal.seal(&world).await;

    let answer = world.get(&ada, &path(10)).await;
    let receipt = receipt(&answer);
    assert_eq!((receipt.head, answer.position), (head, Some(703)));
    assert_eq!(receipt.events.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 703]);
    let keys = published(&world).await;
    assert_eq!(receipt.verify(&keys), Ok(()));
    assert_eq!(world.get(&admin, &path(10)).await.body, answer.body);
    for (person, id) in [(&bob, 10), (&ada, 11), (&ada, 1_000)] {
        assert_eq!(world.refused(person, &path(id)).await, r#"404 "not_found""#);
    }

    // Whatever is changed in it, it proves no more.
    let other = Keys::from(SigningKey::generate().unwrap().public());
    assert_eq!(receipt.verify(&other), Err(Invalid::Signature(703)));
    let changes: [(Change, Invalid); 9] = [
        (|r| r.events[1].data.push(' '), Invalid::Proof { position: 2 }),
        (|r| r.events[1].meta.push(' '), Invalid::Proof { position: 2 }),
        (|r| r.events[1].kind = "execution_failed".into(), Invalid::Proof { position: 2 }),
        (|r| r.events[1].scope = None, Invalid::Proof { position: 2 }),
        (|r| r.events[2].position = 702, Invalid::Proof { position: 702 }),
        (|r| r.events[0].proof[3][7] ^= 1, Invalid::Proof { position: 1 }),
        (|r| r.events.clear(), Invalid::Empty),
        (|r| r.head.head.size = 704, Invalid::Signature(704)),
        (|r| r.format.push('x'), Invalid::Format("daybook receipt v1x".into())),
    ];
    for (change, why) in changes {
        let mut forged = receipt.clone();
        change(&mut forged);
        assert_eq!(forged.verify(&keys), Err(why));
    }
    // Nor with an event left out, twice, in another order, or of something else.
    let changes: [Change; 4] = [
        |r| drop(r.events.remove(1)),
        |r| r.events.insert(1, r.events[0].clone()),
        |r| r.events.swap(0, 1),
        |r| r.events[1].id = Uuid::from_u128(11),
    ];
    for change in changes {
        let mut forged = receipt.clone();
        change(&mut forged);
        assert!(matches!(forged.verify(&keys), Err(Invalid::History { .. })), "{:?}", forged.verify(&keys));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sealed_yet_is_waited_for() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    let mut seal = Seal::new(&world).await;
    happened(&world, 10, ada.id, &["execution_requested"]).await;
    let asked = path(10);
    let (answer, head) = tokio::join!(world.get(&ada, &asked), async {
        // Sealed only when it is waited for: the room asks for nothing else.
        let sizes =
            "select count(*) from pg_stat_activity where query like '%seal_head%' and application_name like 'daybook%'";
        within("somebody who waits", async {
            while sqlx::query_scalar::<_, i64>(sizes).fetch_one(&world.pool).await.unwrap() < 1 {}
        })
        .await;
        seal.seal(&world).await
    });
    assert_eq!(receipt(&answer).head, head);
    // In vain: five seconds.
    happened(&world, 10, ada.id, &["execution_started"]).await;
    let answer = world.get(&ada, &path(10)).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("1")), "{answer:?}");
    assert_eq!(answer.body["detail"], "no signed head covers position 2 yet");
}

#[tokio::test]
async fn a_log_that_was_changed_gives_no_receipts() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    for id in 10..14 {
        happened(&world, id, ada.id, &["execution_requested"]).await;
    }
    Seal::new(&world).await.seal(&world).await;
    assert_eq!(world.get(&ada, &path(10)).await.status, 200);
    let changed = "alter table event disable trigger user; update event set hash = sha256('x') where position = 4";
    world.database.admin.execute(changed).await.unwrap();
    assert_eq!(world.refused(&ada, &path(10)).await, r#"500 "internal_error""#);
    assert_eq!(world.refused(&ada, "/api/v1/log/head?since=2").await, r#"500 "internal_error""#);
}

#[tokio::test]
async fn a_head_goes_on_from_any_earlier_one_and_shows_it() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    assert_eq!(world.refused(&ada, "/api/v1/log/head").await, r#"404 "not_sealed""#);
    assert_eq!(world.refused(&ada, "/api/v1/log/key").await, r#"404 "not_sealed""#);
    let mut seal = Seal::new(&world).await;
    let mut heads = Vec::new();
    for _ in 0..4 {
        happened(&world, 10, ada.id, &["execution_attempt_failed"; 99]).await;
        heads.push(seal.seal(&world).await);
    }
    let last = heads.last().unwrap();
    let answer = world.get(&ada, "/api/v1/log/head").await;
    assert_eq!((&answer.body["consistency"], answer.position), (&serde_json::Value::Null, Some(396)));
    assert_eq!(serde_json::from_value::<SignedHead>(answer.body["head"].clone()).unwrap(), *last);
    for head in &heads {
        let (first, root) = (head.head.size, head.head.root);
        let answer = world.get(&ada, &format!("/api/v1/log/head?since={first}")).await;
        let proof = answer.body["consistency"].as_array().unwrap().iter().map(|hash| {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            BASE64_STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap()
        });
        let proof: Vec<_> = proof.collect();
        assert!(proof::is_consistent(first, &root, 396, &last.head.root, &proof), "{first}");
    }
    for since in ["0", "397", "-1", "x"] {
        let told = world.refused(&ada, &format!("/api/v1/log/head?since={since}")).await;
        assert!(told.starts_with(r#"422 "invalid_parameter" "/since""#), "{told}");
    }
    let stranger = Request::builder().uri_str("/api/v1/log/head").finish();
    assert_eq!(world.app.get_response(stranger).await.status().as_u16(), 401);
}
