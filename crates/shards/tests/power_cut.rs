//! The power fails at an arbitrary moment, again and again: what was acknowledged is there and whole, what was
//! deleted stays away, and the rest is there whole or not at all.

mod common;

use std::io;
use std::sync::Arc;

use common::*;
use runtime::disk::{Call, Fault, SimDisk};
use shards::{ShardError, ShardHeader, ShardId, Store};

const ROUNDS: u64 = 3;

/// What one task does.
#[derive(Clone, Copy)]
enum Deed {
    Put(ShardHeader),
    Delete(ShardId),
}

enum Outcome {
    Put(ShardHeader, Result<(), ShardError>),
    Delete(ShardId, Result<bool, ShardError>),
}

async fn act(store: Arc<Store>, deed: Deed) -> Outcome {
    match deed {
        Deed::Put(header) => Outcome::Put(header, put(&store, &header).await),
        Deed::Delete(id) => Outcome::Delete(id, store.delete(id).await),
    }
}

/// A few deeds at once, on different shards.
fn deeds(rolls: &Rolls, model: &Model, sequence: &mut u64) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut doomed = Vec::new();
    for _ in 0..=rolls.below(6) {
        let old = model.shards.len() as u64;
        if old > 0 && rolls.below(3) == 0 {
            let id = *model.shards.keys().nth(rolls.below(old) as usize).expect("in range");
            if !doomed.contains(&id) {
                doomed.push(id);
                deeds.push(Deed::Delete(id));
            }
        } else {
            *sequence += 1 + rolls.below(2000);
            deeds.push(Deed::Put(shard(1 + rolls.below(2), *sequence, rolls.payload_len())));
        }
    }
    deeds
}

/// Runs until something fails or enough is done.
async fn live(store: &Arc<Store>, rolls: &Rolls, model: &mut Model, sequence: &mut u64) {
    for _ in 0..12 {
        let tasks: Vec<_> = deeds(rolls, model, sequence)
            .into_iter()
            .map(|deed| tokio::spawn(act(store.clone(), deed)))
            .collect();
        for task in tasks {
            match task.await.expect("a deed ends well") {
                Outcome::Put(header, outcome) => model.after_put(header, &outcome),
                Outcome::Delete(id, outcome) => model.after_delete(id, &outcome),
            }
        }
    }
}

async fn run(seed: u64) {
    let disk = sim_drive(256 << 20, seed);
    let rolls = Rolls::new(seed);
    let (mut model, mut sequence) = (Model::default(), 0);
    for round in 0..ROUNDS {
        let store = open(&disk, seed * ROUNDS + round).expect("a disk that lost power opens");
        model.check(&store).await;
        cut_power_after(&disk, rolls.below(220));
        live(&store, &rolls, &mut model, &mut sequence).await;
        if rolls.below(4) == 0 {
            store.close().await;
        }
        drop(store);
        disk.crash(rolls.below(u64::MAX));
        if rolls.below(3) == 0 {
            // It fails again while the store recovers.
            cut_power_after(&disk, rolls.below(25));
            drop(open(&disk, round));
            disk.crash(rolls.below(u64::MAX));
        }
    }
    let store = open(&disk, seed).expect("a disk that lost power opens");
    model.check(&store).await;
    settle(&mut model, &store).await;
    store.close().await;
    drop(store);
    let store = open(&disk, seed).expect("opened");
    model.check(&store).await;
}

/// From this call on, all fail.
fn cut_power_after(disk: &SimDisk, calls: u64) {
    let error = io::ErrorKind::Other;
    disk.inject(Fault { call: None, after: calls, error, forever: true });
}

/// Deletes everything that is there, and something that is not.
async fn settle(model: &mut Model, store: &Store) {
    for (id, (_, fate)) in &mut model.shards {
        let was_there = store.delete(*id).await.expect("deleted");
        assert!(was_there || *fate != Fate::Present);
        *fate = Fate::Absent;
    }
}

#[tokio::test]
async fn every_acknowledged_write_and_delete_survives() {
    for seed in 0..60 {
        run(seed).await;
    }
}

/// A process that dies without the power failing leaves what it wrote in the page cache, durable or not. What
/// the next process says of it must hold when the power fails after all.
#[tokio::test]
async fn what_a_restart_believes_holds_after_a_power_cut() {
    for seed in 0..50 {
        let disk = sim_drive(256 << 20, seed);
        let rolls = Rolls::new(seed);
        let (mut model, mut sequence) = (Model::default(), 0);
        let store = open(&disk, seed).expect("opened");
        live(&store, &rolls, &mut model, &mut sequence).await;
        // Syncs fail from some moment on, and the process is killed.
        // (Not those of directories: a file system whose journal fails does not go on as if nothing were.)
        let (error, after) = (io::ErrorKind::Other, rolls.below(3));
        disk.inject(Fault { call: Some(Call::Sync), after, error, forever: true });
        model.sync_failed = true;
        live(&store, &rolls, &mut model, &mut sequence).await;
        drop(store);
        disk.heal();
        let store = open(&disk, seed).expect("opened");
        model.check(&store).await;
        // Every delete that this process answers is final, also of what it did not find.
        let doomed: Vec<ShardId> = model.shards.keys().copied().collect();
        for id in doomed.into_iter().filter(|_| rolls.below(2) == 0) {
            let outcome = store.delete(id).await;
            model.after_delete(id, &outcome);
        }
        drop(store);
        disk.crash(seed);
        let store = open(&disk, seed).expect("opened");
        model.check(&store).await;
    }
}
