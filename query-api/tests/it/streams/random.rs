//! Any text in any attempts, pieces that are lost, clients that come whenever and break off anywhere.

use std::cell::Cell;

use futures_util::future::join_all;
use nats::{Bus, live::MAX_TEXT};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::world::{Listening, Maker, running, world};
use crate::world::{Person, World};

/// What happens to a text, and who streams it.
#[derive(Debug, Clone)]
struct Case {
    /// The pieces of each attempt, and whether each is told or lost.
    attempts: Vec<Vec<(String, bool)>>,
    /// Whether the worker answers questions.
    answers: bool,
    /// After how many pieces each client comes, and how many events each of its connections takes before it breaks.
    clients: Vec<(usize, Vec<usize>)>,
}

fn case() -> impl Strategy<Value = Case> {
    let piece = prop_oneof![4 => "\\PC{1,6}", 1 => "[\u{1}-\u{7f}é\u{1f980}\u{fffd}]{1,4}", 1 => Just("y".repeat(MAX_TEXT - 7))];
    let attempts = vec(vec((piece, any::<bool>()), 0..8), 1..4);
    let clients = vec((0..16_usize, vec(0..4_usize, 0..4)), 1..5);
    (attempts, any::<bool>(), clients).prop_map(|(attempts, answers, clients)| Case { attempts, answers, clients })
}

/// What a client has of the text when it has got the outcome, whose connections break after so many events each.
async fn client(world: &World, owner: &Person, id: u128, breaks: &[usize]) -> String {
    let (mut text, mut last) = (String::new(), None::<String>);
    let mut breaks = breaks.iter();
    loop {
        let mut listening = Listening::to(world, owner, id, last.as_deref()).await;
        let mut takes = breaks.next().copied().unwrap_or(usize::MAX);
        while takes > 0 {
            let event = listening.next().await.unwrap();
            match event.kind.as_str() {
                "chunk" => text += event.data["text"].as_str().unwrap(),
                "attempt" => text.clear(),
                "succeeded" => return text,
                other => panic!("{other}: {}", event.data),
            }
            last = Some(event.id);
            takes -= 1;
        }
    }
}

async fn check(world: &World, bus: &Bus, id: u128, case: &Case) -> Result<(), TestCaseError> {
    let owner = Person::new(1, false);
    let position = 1000 + 2 * i64::try_from(id).unwrap();
    running(world, id, &owner, case.attempts.len(), position).await;
    let maker = Maker::new(bus, &owner, id, case.answers).await;
    let told = tokio::sync::watch::Sender::new(0);
    let clients = case.clients.iter().map(|(after, breaks)| {
        let (mut told, owner) = (told.subscribe(), &owner);
        async move {
            let _ = told.wait_for(|told| told >= after).await;
            client(world, owner, id, breaks).await
        }
    });
    let telling = async {
        for (attempt, pieces) in case.attempts.iter().enumerate() {
            maker.begins(u32::try_from(attempt).unwrap() + 1);
            for (piece, is_told) in pieces {
                maker.says(piece, *is_told).await;
                told.send_modify(|told| *told += 1);
                tokio::task::yield_now().await;
            }
        }
        told.send_replace(usize::MAX);
        maker.succeeds(world, position + 1).await
    };
    let (got, result) = tokio::join!(join_all(clients), telling);
    for text in got {
        prop_assert_eq!(&text, &result);
    }
    Ok(())
}

#[test]
fn whoever_comes_late_or_again_has_the_result_in_the_end() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_server, world, bus) = runtime.block_on(world());
    let id = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::with_source_file(file!()) });
    runner
        .run(&case(), |case| {
            id.set(id.get() + 1);
            runtime.block_on(check(&world, &bus, id.get(), &case))
        })
        .unwrap();
}
