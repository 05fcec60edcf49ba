//! Guards, alone and racing.

use std::sync::Arc;

use types::Revision;

use super::{Client, at_once, data, path, under};
use crate::{Batch, Guard, Key, KeyRange, Outcome, Write, decode_counter, encode_counter};

const RACERS: u64 = 32;

/// A batch with one guard that notes when it has committed.
fn guarded(guard: Guard) -> Batch {
    let mut batch = Batch::default();
    batch.guard(guard).put(path("/noted"), "yes");
    batch
}

async fn holds(client: &Client, guard: Guard) -> bool {
    match client.commit(guarded(guard)).await {
        Outcome::Committed(_) => true,
        Outcome::Conflict(0) => false,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn each_guard_holds_and_fails_as_it_says(client: &Client) {
    let (there, absent) = (path("/there"), path("/absent"));
    let old = client.put(&there, "1").await;
    let new = client.put(&there, "2").await;
    assert!(holds(client, Guard::Absent(absent.clone())).await);
    assert!(!holds(client, Guard::Absent(there.clone())).await);
    assert!(holds(client, Guard::Exists(there.clone())).await);
    assert!(!holds(client, Guard::Exists(absent.clone())).await);
    assert!(holds(client, Guard::Revision(there.clone(), new)).await);
    assert!(!holds(client, Guard::Revision(there.clone(), old)).await);
    assert!(!holds(client, Guard::Revision(there.clone(), Revision(new.0 + 1))).await);
    assert!(!holds(client, Guard::Revision(absent.clone(), Revision(0))).await);
    let mut delete = Batch::default();
    delete.write(Write::Delete(there.clone()));
    client.must(delete).await;
    assert!(holds(client, Guard::Absent(there.clone())).await);
    assert!(!holds(client, Guard::Revision(there, new)).await);
}

pub(super) async fn a_conflict_names_its_guard_and_writes_nothing(client: &Client) {
    let (a, b) = (path("/a"), path("/b"));
    let revision = client.put(&a, "1").await;
    let mut batch = Batch::default();
    batch.guard(Guard::Exists(a.clone())).guard(Guard::Absent(b.clone()));
    batch.guard(Guard::Absent(a.clone())).guard(Guard::Exists(b.clone()));
    batch.put(a.clone(), "2").put(b.clone(), "2").write(Write::Add(path("/counter"), 1));
    assert_eq!(client.commit(batch).await, Outcome::Conflict(2));
    assert_eq!(client.get(&a).await.map(|found| found.revision), Some(revision));
    assert_eq!(client.get(&b).await, None);
    assert_eq!(client.get(&path("/counter")).await, None);
}

pub(super) async fn empty_ranges_are_exact(client: &Client) {
    let range = KeyRange::new(data(&[b"b"]), data(&[b"d"])).expect("a range");
    let empty = || Guard::EmptyRange(range.clone());
    client.put(&data(&[b"a\xff"]), "before").await;
    client.put(&data(&[b"d"]), "behind").await;
    assert!(holds(client, empty()).await);
    for inside in [data(&[b"b"]), data(&[b"c\0"]), data(&[b"c\xff\xff"])] {
        client.put(&inside, "").await;
        assert!(!holds(client, empty()).await, "{inside:?}");
        let mut delete = Batch::default();
        delete.write(Write::Delete(inside));
        client.must(delete).await;
        assert!(holds(client, empty()).await);
    }
}

pub(super) async fn at_most_counts_the_batch_itself(client: &Client) {
    let counter = path("/counter");
    let add = |most: i64, by: &[i64]| {
        let mut batch = Batch::default();
        batch.guard(Guard::AtMost(counter.clone(), most));
        for by in by {
            batch.write(Write::Add(counter.clone(), *by));
        }
        batch.write(Write::Add(path("/other"), 1000));
        batch
    };
    assert_eq!(client.commit(add(-1, &[])).await, Outcome::Conflict(0));
    client.must(add(0, &[])).await;
    client.must(add(10, &[4, 6])).await;
    assert_eq!(client.commit(add(10, &[1])).await, Outcome::Conflict(0));
    assert_eq!(client.commit(add(10, &[5, -4])).await, Outcome::Conflict(0));
    client.must(add(10, &[5, -5])).await;
    client.must(add(8, &[-2])).await;
    client.must(add(i64::MAX, &[1])).await;
    assert_eq!(client.value(&counter).await.as_deref(), Some(&encode_counter(9)[..]));
}

pub(super) async fn racing_increments_are_exact(client: &Client) {
    const EACH: u64 = 6;
    let key = path("/number");
    at_once(RACERS, |_| {
        let (client, key) = (client.clone(), key.clone());
        async move {
            for _ in 0..EACH {
                increment(&client, &key).await;
            }
        }
    })
    .await;
    let number = client.value(&key).await.as_deref().and_then(decode_counter);
    assert_eq!(number, Some((RACERS * EACH) as i64));
}

/// Reads, adds one, and puts under the guard that nothing changed in between, until that succeeds.
async fn increment(client: &Client, key: &Key) {
    loop {
        let read = client.get(key).await;
        let number = read.as_ref().and_then(|found| decode_counter(&found.value)).unwrap_or(0);
        let mut batch = Batch::default();
        batch.unchanged(key.clone(), read.map(|found| found.revision));
        batch.put(key.clone(), encode_counter(number + 1).to_vec());
        match client.commit(batch).await {
            Outcome::Committed(_) => return,
            Outcome::Conflict(0) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Commits one batch per racer at once; which of them committed.
async fn race(client: &Client, batch: impl Fn(u64) -> Batch) -> Vec<u64> {
    let batches: Arc<Vec<Batch>> = Arc::new((0..RACERS).map(batch).collect());
    let outcomes = at_once(RACERS, |racer| {
        let (client, batches) = (client.clone(), batches.clone());
        async move { client.commit(batches[racer as usize].clone()).await }
    })
    .await;
    let committed = |outcome: &Outcome| match outcome {
        Outcome::Committed(_) => true,
        Outcome::Conflict(_) => false,
        other => panic!("{other:?}"),
    };
    (0..RACERS).filter(|racer| committed(&outcomes[*racer as usize])).collect()
}

pub(super) async fn one_of_many_creators_wins(client: &Client) {
    let key = path("/created");
    let winners = race(client, |racer| {
        let mut batch = Batch::default();
        batch.guard(Guard::Absent(key.clone())).put(key.clone(), racer.to_string());
        batch
    })
    .await;
    let [winner] = winners[..] else { panic!("{winners:?} all created it") };
    assert_eq!(client.value(&key).await, Some(winner.to_string().into()));
}

pub(super) async fn one_of_many_deleters_wins(client: &Client) {
    let key = path("/deleted");
    client.put(&key, "x").await;
    let winners = race(client, |_| {
        let mut batch = Batch::default();
        batch.guard(Guard::Exists(key.clone())).write(Write::Delete(key.clone()));
        batch.write(Write::Add(path("/deletes"), 1));
        batch
    })
    .await;
    assert_eq!(winners.len(), 1);
    assert_eq!(client.get(&key).await, None);
    assert_eq!(client.value(&path("/deletes")).await.as_deref(), Some(&encode_counter(1)[..]));
}

pub(super) async fn one_of_many_wins_an_empty_range(client: &Client) {
    let winners = race(client, |racer| {
        let mut batch = Batch::default();
        batch.guard(Guard::EmptyRange(under(b"r"))).put(data(&[b"r", &racer.to_be_bytes()]), "");
        batch
    })
    .await;
    let [winner] = winners[..] else { panic!("{winners:?} all found it empty") };
    let entries = client.all(&under(b"r")).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].key, data(&[b"r", &winner.to_be_bytes()]));
}

pub(super) async fn racing_adds_stop_at_the_limit(client: &Client) {
    let quota = path("/quota");
    let winners = race(client, |racer| {
        let mut batch = Batch::default();
        batch.guard(Guard::AtMost(quota.clone(), 20)).write(Write::Add(quota.clone(), 1));
        batch.write(Write::Add(quota.clone(), 1)).put(data(&[b"q", &[racer as u8]]), "");
        batch
    })
    .await;
    assert_eq!(winners.len(), 10);
    assert_eq!(client.value(&quota).await.as_deref(), Some(&encode_counter(20)[..]));
    assert_eq!(client.all(&under(b"q")).await.len(), 10);
}
