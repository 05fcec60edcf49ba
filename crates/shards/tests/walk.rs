//! The same life again and again, and at each of its disk calls in turn something goes wrong: the power fails, a call
//! fails, or the disk is full. Nothing acknowledged is lost, nothing deleted comes back, no byte is wrong.

mod common;

use std::io;

use common::*;
use runtime::disk::{Call, Fault, SimDisk};
use shards::{Compacted, ScrubBudget, ShardError, Store};

const SEEDS: u64 = 3;

async fn add(store: &Store, model: &mut Model, sequence: u64, len: u64) {
    let header = shard(1 + sequence % 2, sequence, len);
    let outcome = put(store, &header).await;
    assert!(outcome.as_ref().err().is_none_or(is_expected), "{outcome:?}");
    model.after_put(header, &outcome);
}

async fn remove(store: &Store, model: &mut Model, sequence: u64) {
    let id = shard(1 + sequence % 2, sequence, 0).id;
    let outcome = store.delete(id).await;
    assert!(outcome.as_ref().err().is_none_or(is_expected), "{outcome:?}");
    model.after_delete(id, &outcome);
}

/// What is read is what was written.
async fn look(store: &Store, model: &Model) {
    for (id, (header, fate)) in &model.shards {
        match store.read(*id, 0, 3).await {
            Ok(read) => {
                assert_ne!(*fate, Fate::Absent, "{id:?} is back from the dead");
                if *fate == Fate::Present {
                    assert!(frames(header).starts_with(&read));
                }
            }
            Err(ShardError::NotFound(_)) => assert_ne!(*fate, Fate::Present, "{id:?} is lost"),
            Err(error) => assert!(is_expected(&error), "{error}"),
        }
    }
}

async fn scrub(store: &Store) {
    let budget = ScrubBudget { bytes: 30_000, shards: 9 };
    let mut after = None;
    while let Ok(slice) = store.scrub(after, budget).await {
        after = slice.next;
        if after.is_none() {
            return;
        }
    }
}

async fn compact(store: &Store) {
    for _ in 0..200 {
        match store.compact(9000).await {
            Ok(Compacted { more: true, .. }) => {}
            _ => return,
        }
    }
    panic!("compaction does not end");
}

/// The first part: segments fill, and most of what is in them is deleted.
async fn youth(store: &Store, model: &mut Model) {
    for n in 1..=36 {
        add(store, model, n * 90, 1000 + n * 100).await;
    }
    for n in (1..=36).filter(|n| n % 4 != 0) {
        remove(store, model, n * 90).await;
    }
}

/// The second: everything that a store does.
async fn age(store: &Store, model: &mut Model) {
    add(store, model, 5000, 3000).await;
    add(store, model, 5001, 1_100_000).await;
    store.compact(9000).await.ok();
    // One that was moved, one that was not, one that is new, one that is not there.
    for sequence in [4 * 90, 36 * 90, 5000, 77] {
        remove(store, model, sequence).await;
    }
    add(store, model, 5002, 4000).await;
    look(store, model).await;
    scrub(store).await;
    compact(store).await;
    remove(store, model, 8 * 90).await;
    remove(store, model, 5001).await;
    add(store, model, 9001, 1_050_000).await;
    look(store, model).await;
}

/// A drive that has had its youth, and was closed.
async fn grown(seed: u64) -> (SimDisk, Model) {
    let disk = sim_drive(64 << 20, seed);
    let mut model = Model::default();
    let store = open(&disk, seed).expect("opened");
    youth(&store, &mut model).await;
    store.close().await;
    (disk, model)
}

/// Everything is as the model says; then everything goes, for good.
async fn settle(disk: &SimDisk, model: &mut Model) {
    let store = open(disk, 7).expect("opened");
    model.check(&store).await;
    compact(&store).await;
    model.check(&store).await;
    for (id, (_, fate)) in &mut model.shards {
        let was_there = store.delete(*id).await.expect("deleted");
        assert!(was_there || *fate != Fate::Present, "{id:?} is lost");
        *fate = Fate::Absent;
    }
    drop(store);
    disk.crash(3);
    let store = open(disk, 8).expect("opened");
    model.check(&store).await;
}

/// A life in which from call `after` on all fail, until the power comes back; whether it was that long.
async fn power_fails(grown: &(SimDisk, Model), seed: u64, after: u64) -> bool {
    let (disk, mut model) = (grown.0.fork(seed), grown.1.clone());
    let error = io::ErrorKind::Other;
    disk.inject(Fault { call: None, after, error, forever: true });
    let start = disk.calls();
    if let Ok(store) = open(&disk, seed) {
        age(&store, &mut model).await;
        if after.is_multiple_of(2) {
            store.close().await;
        }
    }
    let reached = disk.calls() > start + after;
    disk.crash(seed * 1000 + after);
    if after.is_multiple_of(3) {
        // It fails again while the store recovers.
        disk.inject(Fault { call: None, after: after % 41, error, forever: true });
        drop(open(&disk, seed));
        disk.crash(after);
    }
    settle(&disk, &mut model).await;
    reached
}

#[tokio::test]
async fn the_power_fails_at_every_call() {
    for seed in 0..SEEDS {
        let (grown, mut after) = (grown(seed).await, 0);
        while power_fails(&grown, seed, after).await {
            after += 1;
        }
        assert!(after > 150, "only {after} calls");
    }
}

/// A life in which one call, or one of one kind, fails; whether it was that long.
async fn a_call_fails(
    grown: &(SimDisk, Model),
    call: Option<Call>,
    after: u64,
    error: io::ErrorKind,
) -> bool {
    let (disk, mut model) = (grown.0.fork(after), grown.1.clone());
    model.sync_failed = true;
    disk.inject(Fault { call, after, error, forever: false });
    let store = match open(&disk, 1) {
        Ok(store) => store,
        Err(_) => open(&disk, 1).expect("opened at the second try"),
    };
    age(&store, &mut model).await;
    if after.is_multiple_of(2) {
        store.close().await;
    }
    let reached = disk.faults_left() == 0;
    println!("call {after} of {call:?}: {error:?} at {:?}", disk.last_hit());
    disk.heal();
    drop(store);
    // (A file system whose journal fails does not go on as if nothing were.)
    if !after.is_multiple_of(3) && disk.last_hit() != Some(Call::SyncDir) {
        // The process was killed, and what it left in the page cache is believed, before the power fails.
        let store = open(&disk, 2).expect("opened again");
        model.check(&store).await;
        remove(&store, &mut model, 12 * 90).await;
        compact(&store).await;
        drop(store);
        disk.crash(after);
    }
    settle(&disk, &mut model).await;
    reached
}

#[tokio::test]
async fn every_call_fails_once() {
    let grown = grown(9).await;
    for error in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        let mut after = 0;
        while a_call_fails(&grown, None, after, error).await {
            after += 1;
        }
        assert!(after > 150, "only {after} calls");
    }
}

#[tokio::test]
async fn every_sync_and_every_write_fails_once_with_other_dice() {
    let grown = grown(10).await;
    for call in [Call::Sync, Call::SyncDir, Call::Write] {
        let mut after = 0;
        while a_call_fails(&grown, Some(call), after, io::ErrorKind::Other).await {
            after += 1;
        }
        assert!(after > 3, "only {after} calls of {call:?}");
    }
}

/// Shards are deleted while compaction moves them, and the power fails: what was deleted stays away, wherever the
/// copies of it had got to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_race_with_compaction_until_the_power_fails() {
    let grown = grown(11).await;
    for after in 0..160 {
        let (disk, mut model) = (grown.0.fork(after), grown.1.clone());
        let store = open(&disk, 1).expect("opened");
        let error = io::ErrorKind::Other;
        disk.inject(Fault { call: None, after, error, forever: true });
        let compacting = tokio::spawn({
            let store = store.clone();
            async move { compact(&store).await }
        });
        let left: Vec<_> = model.shards.keys().copied().collect();
        for id in left {
            let outcome = store.delete(id).await;
            model.after_delete(id, &outcome);
        }
        compacting.await.expect("it ends well");
        drop(store);
        disk.crash(after);
        settle(&disk, &mut model).await;
    }
}
