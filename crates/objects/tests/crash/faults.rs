//! One call on one drive fails, without a crash: each call of each deed in turn, in each way.

use std::io::ErrorKind;

use runtime::disk::{Fault, SimDisk};

use crate::deeds::{CHANGES, Deed, Outcome, act, check, set};
use crate::world::{Disks, Machine};

/// `EIO` and `ENOSPC` once, and `EIO` from then on. A write that fails has written a part; after a sync that fails
/// nothing is known.
const ERRORS: [(ErrorKind, bool); 3] =
    [(ErrorKind::Other, false), (ErrorKind::StorageFull, false), (ErrorKind::Other, true)];

/// Plays a deed with a fault on some disks; what became of it, and how many calls it made on each disk.
async fn run(deed: Deed, (disks, fault): (&[usize], Option<Fault>)) -> (Outcome, Vec<u64>) {
    let machine = Machine::new(Disks::Each, 7);
    let mut world = machine.start().await;
    let mut stage = set(&mut world, deed).await;
    let before: Vec<u64> = machine.disks.iter().map(SimDisk::calls).collect();
    if let Some(fault) = fault {
        disks.iter().for_each(|&disk| machine.disks[disk].inject(fault));
    }
    let outcome = act(&mut world, deed, &mut stage).await;
    assert_ne!(outcome, Outcome::Unknown, "the metadata store has not failed");
    let calls = machine.disks.iter().map(SimDisk::calls).zip(before).map(|(a, b)| a - b).collect();
    machine.disks.iter().for_each(SimDisk::heal);
    // Seen by this process, and after the power has failed.
    check(&world, &stage.expected).await;
    machine.crash(world, 1);
    let mut world = machine.start().await;
    check(&world, &stage.expected).await;
    world.settle().await;
    check(&world, &stage.expected).await;
    (outcome, calls)
}

/// Every call on the disk that has most of them fails, and then that call on all disks at once if `everywhere`.
fn walk(deed: Deed, everywhere: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let (_, calls) = runtime.block_on(run(deed, (&[], None)));
    let busiest = (0..calls.len()).max_by_key(|&disk| calls[disk]).unwrap_or(0);
    let all: Vec<usize> = (0..calls.len()).collect();
    let mut places = vec![vec![busiest]];
    places.extend(everywhere.then_some(all));
    for disks in places {
        let (mut done, mut refused) = (0, 0);
        for (error, forever) in ERRORS {
            for after in 0..calls[busiest] {
                let fault = Fault { call: None, after, error, forever };
                let _note = Note(deed, fault);
                let (outcome, _) = runtime.block_on(run(deed, (&disks, Some(fault))));
                *if outcome == Outcome::Done { &mut done } else { &mut refused } += 1;
            }
        }
        let where_to = if disks.len() == 1 { "one disk" } else { "all disks" };
        println!("{deed:?}: {calls:?} calls; {where_to}: {done} done, {refused} refused");
    }
}

/// Says where a failure was.
struct Note(Deed, Fault);

impl Drop for Note {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} fails with {:?}", self.0, self.1);
        }
    }
}

#[test]
fn puts_and_parts() {
    let writes = CHANGES.into_iter().filter(|d| matches!(d, Deed::Put(_) | Deed::Part(_)));
    writes.for_each(|deed| walk(deed, true));
}

#[test]
fn reads_and_scrubs() {
    [Deed::Get, Deed::Scrub].into_iter().for_each(|deed| walk(deed, false));
}

#[test]
fn repair() {
    [Deed::Repair, Deed::Reencode].into_iter().for_each(|deed| walk(deed, false));
}

#[test]
fn collection_and_compaction() {
    [Deed::Collect, Deed::Compact].into_iter().for_each(|deed| walk(deed, false));
}
