//! Every disk call fails once, in turn: nothing that was acknowledged is lost, nothing panics, and the store
//! works again after the fault.

mod common;

use std::io;

use common::*;
use runtime::disk::{Call, Fault, SimDisk};
use shards::{DriveState, ShardError, Store};

/// The same deeds each time: small and large, deletes of both, a roll to a new segment, a close.
async fn deeds(store: &Store, model: &mut Model) {
    for n in 1..=14u64 {
        let len = if n % 4 == 0 { 1_048_576 + n * 70_000 } else { n * 3000 };
        let header = shard(1, n * 700, len);
        let outcome = put(store, &header).await;
        assert!(outcome.as_ref().err().is_none_or(is_expected), "{outcome:?}");
        model.after_put(header, &outcome);
        if n % 3 == 0 {
            let id = shard(1, (n - 2) * 700, 0).id;
            let outcome = store.delete(id).await;
            assert!(outcome.as_ref().err().is_none_or(is_expected), "{outcome:?}");
            model.after_delete(id, &outcome);
        }
        if n == 8 {
            let id = shard(1, 4 * 700, 0).id;
            model.after_delete(id, &store.delete(id).await);
        }
    }
}

/// One run with a fault at call `after`, which may hit the start, the deeds and, if `close`, the end; whether
/// it was reached.
async fn run(after: u64, error: io::ErrorKind, close: bool) -> bool {
    let disk = sim_drive(64 << 20, after);
    let start = disk.calls();
    let mut model = Model { sync_failed: true, ..Model::default() };
    disk.inject(Fault { call: None, after, error, forever: false });
    let store = match open(&disk, 1) {
        Ok(store) => store,
        // The fault hit the start; the next one is good.
        Err(_) => open(&disk, 1).expect("opened at the second try"),
    };
    deeds(&store, &mut model).await;
    if close {
        store.close().await;
    }
    let reached = disk.calls() > start + after;
    disk.heal();
    if !close {
        // Also before a restart everything durable is readable.
        for (header, _) in model.shards.values().filter(|(_, fate)| *fate == Fate::Present) {
            assert_whole(&store, header).await;
        }
    }
    drop(store);
    let store = open(&disk, 2).expect("opened again");
    model.check(&store).await;
    drop(store);
    disk.crash(after);
    let store = open(&disk, 3).expect("opened after a power cut");
    model.check(&store).await;
    assert_eq!(store.status().state, DriveState::Up);
    put(&store, &shard(2, 1, 5000)).await.expect("a healthy store takes shards");
    put(&store, &shard(2, 2, 1_500_000)).await.expect("a healthy store takes shards");
    reached
}

async fn run_all(error: io::ErrorKind) {
    let mut after = 0;
    while run(after, error, true).await {
        run(after, error, false).await;
        after += 1;
    }
    assert!(after > 80, "only {after} calls");
}

#[tokio::test]
async fn an_input_output_error_at_every_call() {
    run_all(io::ErrorKind::Other).await;
}

#[tokio::test]
async fn no_space_at_every_call() {
    run_all(io::ErrorKind::StorageFull).await;
}

fn fail(disk: &SimDisk, call: Call, error: io::ErrorKind) {
    disk.inject(Fault { call: Some(call), after: 0, error, forever: false });
}

#[tokio::test]
async fn a_failed_sync_makes_the_drive_suspect_and_is_not_tried_again() {
    for len in [1000, 2_000_000] {
        let disk = sim_drive(64 << 20, len);
        let store = open(&disk, 1).expect("opened");
        let good = shard(1, 1, len);
        put(&store, &good).await.expect("committed");
        fail(&disk, Call::Sync, io::ErrorKind::Other);
        let bad = put(&store, &shard(1, 2, len)).await;
        assert!(matches!(bad, Err(ShardError::Io { .. })), "{bad:?}");
        assert_eq!(store.status().state, DriveState::Suspect);
        let refused = store.create(shard(1, 3, len)).map(|_| ());
        assert!(matches!(refused, Err(ShardError::Io { .. })), "{refused:?}");
        assert_whole(&store, &good).await;
        assert_eq!(store.delete(good.id).await, Ok(true), "deletes go on, in another file");
        drop(store);
        disk.crash(len);
        let store = open(&disk, 1).expect("opened");
        assert_eq!(store.header(good.id).await, Err(ShardError::NotFound(good.id)));
    }
}

#[tokio::test]
async fn a_full_file_system_is_not_a_broken_one() {
    for len in [1000, 2_000_000] {
        let disk = sim_drive(64 << 20, len);
        let store = open(&disk, 1).expect("opened");
        fail(&disk, Call::Write, io::ErrorKind::StorageFull);
        let full = put(&store, &shard(1, 2, len)).await;
        assert!(matches!(full, Err(ShardError::Full { .. })), "{full:?}");
        assert_eq!(store.status().state, DriveState::Up);
        put(&store, &shard(1, 3, len)).await.expect("there is room again");
    }
}

#[tokio::test]
async fn a_read_that_fails_is_an_error_of_the_drive_and_passes() {
    for len in [1000, 2_000_000] {
        let disk = sim_drive(64 << 20, len);
        let store = open(&disk, 1).expect("opened");
        let header = shard(1, 1, len);
        put(&store, &header).await.expect("committed");
        fail(&disk, Call::Read, io::ErrorKind::Other);
        let failed = store.read(header.id, 0, 1).await;
        assert!(matches!(failed, Err(ShardError::Io { .. })), "{failed:?}");
        assert_whole(&store, &header).await;
        assert_eq!(store.status().state, DriveState::Up);
    }
}

/// A delete fails in its sync and the process dies. The next one finds the delete record, in the page cache
/// only, and says that the shard is gone: then it has to be, also when the power fails.
#[tokio::test]
async fn a_delete_that_a_restart_believes_is_durable() {
    for seed in 0..40 {
        let disk = sim_drive(64 << 20, seed);
        let header = shard(1, 1, 9000);
        let store = open(&disk, 1).expect("opened");
        put(&store, &header).await.expect("committed");
        store.close().await;
        drop(store);
        let store = open(&disk, 2).expect("opened");
        put(&store, &shard(1, 2, 9000)).await.expect("committed");
        fail(&disk, Call::Sync, io::ErrorKind::Other);
        assert!(store.delete(header.id).await.is_err());
        drop(store);
        let store = open(&disk, 3).expect("opened");
        assert_eq!(store.delete(header.id).await, Ok(false));
        drop(store);
        disk.crash(seed);
        let store = open(&disk, 4).expect("opened");
        assert_eq!(store.header(header.id).await, Err(ShardError::NotFound(header.id)));
        assert_whole(&store, &shard(1, 2, 9000)).await;
    }
}

/// A file system whose blocks are larger than those that direct writes are made of refuses them, first or in the
/// middle: the same bytes go through the page cache.
#[tokio::test]
async fn direct_writes_that_are_refused_are_made_otherwise() {
    let header = shard(1, 1, 3 * 1_048_576 + 12_345);
    let mut refused = 0;
    for after in 0.. {
        let disk = sim_drive(64 << 20, after);
        let store = open(&disk, 1).expect("opened");
        let error = io::ErrorKind::InvalidInput;
        disk.inject(Fault { call: Some(Call::Write), after, error, forever: false });
        let outcome = put(&store, &header).await;
        if disk.faults_left() > 0 {
            // How many writes there are depends on how the threads meet; this was one more than that.
            assert_eq!(outcome, Ok(()));
            break;
        }
        if outcome.is_err() {
            // The end of the file, which is not written directly: that is a failure.
            assert_eq!(store.status().state, DriveState::Suspect);
            continue;
        }
        refused += 1;
        assert_eq!(store.status().state, DriveState::Up);
        drop(store);
        disk.crash(after);
        assert_whole(&open(&disk, 2).expect("opened again"), &header).await;
    }
    assert!(refused >= 3, "refused {refused} times");
}
