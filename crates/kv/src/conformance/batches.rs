//! Revisions, atomicity, repetition, and the writes that are not plain puts.

use types::{Revision, limits};

use super::{Client, at_once, data, path, under};
use crate::{Batch, BatchTooLarge, Guard, KvError, Outcome, Write, decode_counter, encode_counter};

pub(super) async fn revisions_rise_and_are_the_values(client: &Client) {
    let first = client.store.revision().await.expect("the store answers");
    let mut last = first;
    for number in 0..5 {
        let key = path(&format!("/{number}"));
        let revision = client.put(&key, "x").await;
        assert!(revision > last);
        assert_eq!(client.get(&key).await.map(|found| found.revision), Some(revision));
        last = revision;
    }
    let mut all: Vec<Revision> = at_once(32, |number| {
        let client = client.clone();
        async move { client.put(&path(&format!("/racing/{number}")), "x").await }
    })
    .await;
    all.sort();
    let newest = client.store.revision().await.expect("the store answers");
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "two batches have one revision");
    assert!(all.first() > Some(&last) && all.last() <= Some(&newest));
    let mut many = Batch::default();
    many.put(path("/m1"), "1").put(path("/m2"), "2");
    let revision = client.must(many).await;
    for key in [path("/m1"), path("/m2")] {
        assert_eq!(client.get(&key).await.map(|found| found.revision), Some(revision));
    }
}

pub(super) async fn a_batch_is_all_or_nothing_to_readers(client: &Client) {
    const ROUNDS: u64 = 60;
    let keys = [path("/x"), data(&[b"y"]), data(&[b"z"])];
    let write = |round: u64| {
        let mut batch = Batch::default();
        for key in &keys {
            batch.put(key.clone(), round.to_be_bytes().to_vec());
        }
        batch
    };
    client.must(write(0)).await;
    let reader = tokio::spawn({
        let (client, keys) = (client.clone(), keys.clone());
        async move {
            loop {
                let found = client.store.multi_get(&keys).await.expect("the store answers");
                assert!(found.iter().all(|one| *one == found[0]), "torn: {found:?}");
                if found[0].as_ref().is_some_and(|one| one.value == ROUNDS.to_be_bytes()[..]) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 1..=ROUNDS {
        client.must(write(round)).await;
    }
    reader.await.expect("reads never see half a batch");
}

pub(super) async fn adds_accumulate(client: &Client) {
    let counter = path("/counter");
    let mut batch = Batch::default();
    for by in [5, -7, 1, 1] {
        batch.write(Write::Add(counter.clone(), by));
    }
    client.must(batch).await;
    assert_eq!(client.value(&counter).await.as_deref(), Some(&encode_counter(0)[..]));
    at_once(32, |number| {
        let client = client.clone();
        let counter = counter.clone();
        async move {
            let mut batch = Batch::default();
            batch.write(Write::Add(counter.clone(), number as i64));
            batch.write(Write::Add(counter, 1));
            client.must(batch).await;
        }
    })
    .await;
    let value = client.value(&counter).await.as_deref().and_then(decode_counter);
    assert_eq!(value, Some((0..32).sum::<i64>() + 32));
}

pub(super) async fn a_repeated_batch_has_its_first_outcome(client: &Client) {
    let (key, counter) = (path("/once"), path("/counter"));
    let mut create = Batch::default();
    create.guard(Guard::Absent(key.clone())).put(key.clone(), "1");
    create.write(Write::Add(counter.clone(), 1));
    let id = client.next_id();
    let first = client.store.commit(id, create.clone()).await.expect("the store answers");
    assert!(matches!(first, Outcome::Committed(_)));
    let mut conflicting = Batch::default();
    conflicting.guard(Guard::Absent(key.clone())).write(Write::Add(counter.clone(), 100));
    let refused = client.next_id();
    let conflict = client.store.commit(refused, conflicting.clone()).await.expect("answers");
    assert_eq!(conflict, Outcome::Conflict(0));
    let mut delete = Batch::default();
    delete.write(Write::Delete(key.clone()));
    client.must(delete).await;
    // Now both would find other circumstances than before.
    for _ in 0..3 {
        let again = client.store.commit(id, create.clone()).await.expect("the store answers");
        assert_eq!(again, first, "its own success is no conflict, and no second success");
        let again = client.store.commit(refused, conflicting.clone()).await.expect("answers");
        assert_eq!(again, conflict);
        client.put(&path("/between"), "x").await;
    }
    assert_eq!(client.get(&key).await, None);
    assert_eq!(client.value(&counter).await.as_deref(), Some(&encode_counter(1)[..]));
}

pub(super) async fn a_batch_repeated_in_flight_commits_once(client: &Client) {
    let counter = path("/counter");
    for round in 1..=20 {
        let id = client.next_id();
        let outcomes = at_once(8, |_| {
            let (client, counter) = (client.clone(), counter.clone());
            async move {
                let mut batch = Batch::default();
                batch.write(Write::Add(counter, 1));
                client.store.commit(id, batch).await.expect("the store answers")
            }
        })
        .await;
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
        let value = client.value(&counter).await.as_deref().and_then(decode_counter);
        assert_eq!(value, Some(round));
    }
}

pub(super) async fn stamps_are_in_commit_order(client: &Client) {
    let prefix = data(&[b"stream"]);
    let mut revisions: Vec<(Revision, u64)> = at_once(32, |number| {
        let (client, prefix) = (client.clone(), prefix.clone());
        async move {
            let mut batch = Batch::default();
            let suffix = number.to_be_bytes().to_vec();
            batch.write(Write::PutStamped(prefix, suffix.into(), number.to_string().into()));
            (client.must(batch).await, number)
        }
    })
    .await;
    revisions.sort();
    let entries = client.all(&under(b"stream")).await;
    assert_eq!(entries.len(), revisions.len());
    for (entry, (revision, number)) in entries.iter().zip(revisions) {
        let key = data(&[b"stream", &revision.0.to_be_bytes(), &number.to_be_bytes()]);
        assert_eq!((&entry.key, entry.revision), (&key, revision));
        assert_eq!(entry.value, number.to_string());
    }
}

pub(super) async fn range_deletes_are_exact_and_bounded(client: &Client) {
    let keys = limits::KV_DELETE_RANGE_MAX_KEYS as u32 + 1;
    let mut numbers = (0..keys).peekable();
    while numbers.peek().is_some() {
        let mut batch = Batch::default();
        for number in numbers.by_ref().take(limits::KV_BATCH_MAX_OPS) {
            batch.put(data(&[b"d", &number.to_be_bytes()]), "x");
        }
        client.must(batch).await;
    }
    for outside in [data(&[b"c\xff"]), data(&[b"e"])] {
        client.put(&outside, "x").await;
    }
    let delete = || {
        let mut batch = Batch::default();
        batch.put(path("/deleted"), "yes").write(Write::DeleteRange(under(b"d")));
        batch
    };
    let refused = client.try_commit(delete()).await;
    assert!(matches!(refused, Err(KvError::TooLarge(BatchTooLarge::Range))), "{refused:?}");
    assert_eq!(client.get(&path("/deleted")).await, None);
    let mut one = Batch::default();
    one.write(Write::Delete(data(&[b"d", &7u32.to_be_bytes()])));
    client.must(one).await;
    client.must(delete()).await;
    assert_eq!(client.all(&under(b"d")).await, vec![]);
    assert_eq!(client.all(&under(b"c")).await.len(), 1);
    assert_eq!(client.all(&under(b"e")).await.len(), 1);
    client.must(delete()).await;
}

pub(super) async fn a_deleted_key_can_come_back(client: &Client) {
    let key = data(&[b"back"]);
    let mut delete = Batch::default();
    delete.write(Write::Delete(key.clone()));
    client.must(delete.clone()).await;
    for round in 0..4 {
        let revision = client.put(&key, round.to_string()).await;
        let found = client.get(&key).await.expect("is there");
        assert_eq!((found.value, found.revision), (round.to_string().into(), revision));
        client.must(delete.clone()).await;
        assert_eq!(client.get(&key).await, None);
        assert_eq!(client.all(&under(b"back")).await, vec![]);
    }
}
