//! The power fails at every call on the disks and on the metadata store of every deed.

use crate::deeds::{CHANGES, Deed, Outcome, act, check, set};
use crate::world::{ALL, Disks, Machine, cut_after};

/// States of the disk after each cut. But for the first, the power fails once more while things are put in order.
const SEEDS: u64 = 2;
/// Calls on the disk within which it fails again.
const AGAIN_WITHIN: u64 = 97;

/// Where the power fails.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// It does not: counts the calls.
    Never,
    /// At this call on the disk.
    Disk(u64),
    /// At this call on the metadata store; whether that one is done.
    Kv(u64, bool),
}

/// Plays a deed; how many calls it made on disk and metadata store.
async fn run(deed: Deed, cut: Cut, seed: u64) -> (u64, u64) {
    let machine = Machine::new(Disks::One, seed);
    let mut world = machine.start().await;
    let mut stage = set(&mut world, deed).await;
    let before = (machine.calls(), world.kv.calls());
    match cut {
        Cut::Never => {}
        Cut::Disk(call) => cut_after(&machine.disks[0], call),
        Cut::Kv(call, is_done) => world.kv.dies_after(call, is_done),
    }
    act(&mut world, deed, &mut stage).await;
    let calls = (machine.calls() - before.0, world.kv.calls() - before.1);
    machine.crash(world, seed);
    let mut world = machine.start().await;
    check(&world, &stage.expected).await;
    world.check_records().await;
    if let (Cut::Disk(call), true) = (cut, seed > 0) {
        // It fails again while the background puts things in order.
        cut_after(&machine.disks[0], call * 7 % AGAIN_WITHIN);
        // What it says of that is not asked.
        let _ = world.work(&ALL).await;
        machine.crash(world, call);
        world = machine.start().await;
        check(&world, &stage.expected).await;
    }
    world.settle().await;
    check(&world, &stage.expected).await;
    calls
}

fn walk(deed: Deed) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let play = |cut, seed| {
        let _note = Note(deed, cut, seed);
        runtime.block_on(run(deed, cut, seed))
    };
    let (disk, kv) = play(Cut::Never, 0);
    for seed in 0..SEEDS {
        (0..=disk).for_each(|call| _ = play(Cut::Disk(call), seed));
    }
    for call in 0..=kv {
        [false, true].into_iter().for_each(|is_done| _ = play(Cut::Kv(call, is_done), call));
    }
    println!("{deed:?}: {disk} calls on disks x {SEEDS} states, {kv} on the metadata store x 2");
}

/// That the walk can fail.
#[test]
fn a_disk_that_lies_is_noticed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let is_lost = |seed: &u64| {
        let mut machine = Machine::new(Disks::One, *seed);
        machine.lies = true;
        runtime.block_on(async {
            let mut world = machine.start().await;
            let mut stage = set(&mut world, Deed::Copy).await;
            assert_eq!(act(&mut world, Deed::Copy, &mut stage).await, Outcome::Done);
            machine.crash(world, *seed);
            let world = machine.start().await;
            world.get("copy").await.is_err()
        })
    };
    assert!((0..8).filter(is_lost).count() > 0, "what was never synced is there after a power cut");
}

/// Says where a failure was.
struct Note(Deed, Cut, u64);

impl Drop for Note {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}, the power fails at {:?}, seed {}", self.0, self.1, self.2);
        }
    }
}

#[test]
fn puts() {
    CHANGES.into_iter().filter(|deed| matches!(deed, Deed::Put(_))).for_each(walk);
}

#[test]
fn uploads() {
    CHANGES
        .into_iter()
        .filter(|deed| matches!(deed, Deed::Part(_) | Deed::Complete))
        .for_each(walk);
}

#[test]
fn copies_and_deletes() {
    [Deed::Copy, Deed::Delete].into_iter().for_each(walk);
}

#[test]
fn repair() {
    [Deed::Repair, Deed::Reencode].into_iter().for_each(walk);
}

#[test]
fn collection() {
    walk(Deed::Collect);
}

#[test]
fn compaction() {
    walk(Deed::Compact);
}
