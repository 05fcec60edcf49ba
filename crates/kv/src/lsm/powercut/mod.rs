//! Power cuts under the embedded engine.
//!
//! A process is started with a recorder (`record.c`) that logs every system call by which it changes the files
//! of its store, with all bytes, in order; what the process was told of its commits is in the log as well. From
//! the log, states are built that a disk may be in when the power fails at some point of it; each is opened by
//! [`Lsm::open`] and must be what the acknowledged batches, and a whole number of others in order, come to.
//!
//! **Data**: a write is durable once `fsync` or `fdatasync` of its file has returned. Of what came after the
//! last one, each sector (of 512 bytes or 4 KiB) of each write has arrived or not, in any combination; the
//! length of the file is one that it had since; what was never written reads as zero.
//!
//! **Names**, by two rules, each with its own states:
//! * [`Names::Ordered`], as the journals of ext4, xfs and btrfs keep it: files made, renamed and removed
//!   survive in order. The sync of a file or directory makes durable what was done to names up to the last
//!   change of its own (of the name or length of a file, of the entries of a directory) and promises nothing
//!   of what came later.
//! * [`Names::Strict`], as POSIX promises it: an entry is durable once its directory was synced, of all others
//!   any may survive; both halves of a rename are one. What is in a directory whose own entry is lost, is lost.
//!
//! Then the same once more for processes that begin with some of these states: the power fails again while they
//! recover and go on.
//!
//! Not here: disks that lie about syncs, damage to what was synced, failing calls.

#![allow(clippy::disallowed_methods, reason = "tests build directories and start processes")]

mod disk;
mod log;
mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use disk::{Before, Crash, Dice, Disk as RecordedDisk, Names, Unsynced};
use log::{Call, Log, Op};
use workload::{Ack, Batches, Expected};

/// Crash states that one run checks, by where in the history they are.
const STATES: [(Place, usize); 4] =
    [(Place::Files, 120), (Place::Commits, 90), (Place::Filling, 8), (Place::Rotation, 32)];
/// States that a second process begins with, and how many of its own are checked of each.
const AGAIN: usize = 6;
const STATES_AGAIN: [(Place, usize); 2] = [(Place::Files, 6), (Place::Commits, 6)];
/// Every so many states the store is opened a second time.
const OPENED_TWICE: usize = 4;
const THREADS: usize = 2;

const ROOT: &str = "UC_RECORD_ROOT";

/// Not a test of its own: what [`power_cuts_lose_nothing`] records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_process() {
    let Ok(root) = std::env::var(ROOT) else { return };
    workload::run(Path::new(&root)).await;
}

/// A directory in memory where there is one: hundreds of stores are made.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// A process that was recorded.
struct History {
    root: String,
    before: Before,
    log: Log,
    /// All that it and those before it were told.
    acks: Vec<Ack>,
    points: Vec<Point>,
}

/// Builds the recorder.
fn recorder(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("record.c"), dir.join("record.so"));
    std::fs::write(&source, include_str!("record.c")).expect("writes");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.expect("a C compiler is there").success(), "the recorder does not build");
    library
}

/// Runs a process in `dir/root` and records it.
fn record(recorder: &Path, dir: &Path, told: &[Ack]) -> Result<History, String> {
    let (root, log) = (dir.join("root"), dir.join("log"));
    let before = Before::look(&root);
    let ended = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "lsm::powercut::recorded_process", "--nocapture", "--test-threads=1"])
        .env(ROOT, &root)
        .env("UC_RECORD_LOG", &log)
        .env("LD_PRELOAD", recorder)
        .output()
        .expect("starts");
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("the recorded process: {}: {said}", ended.status));
    }
    let mut history = History {
        root: root.to_str().expect("text").to_owned(),
        before,
        log: Log::read(&log),
        acks: told.to_vec(),
        points: Vec::new(),
    };
    history.find_points();
    let mut whole = history.disk();
    whole.advance(history.log.ops.len());
    whole.check();
    Ok(history)
}

/// Where in a history a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where flushes, compactions and opens happen.
    Files,
    /// Where a journal is written and synced, and behind acknowledgements.
    Commits,
    /// While the first journal grows to its full size, which makes states slow to check.
    Filling,
    /// From there until that journal is dropped.
    Rotation,
}

/// A point of the history: the operations before `at` have happened.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: usize,
    /// How much had been acknowledged.
    acks: usize,
    place: Place,
}

impl History {
    fn disk(&self) -> RecordedDisk<'_> {
        RecordedDisk::new(&self.log, &self.root, &self.before)
    }

    fn find_points(&mut self) {
        let mut paths: BTreeMap<u32, &str> = BTreeMap::new();
        // Filling or rotation, as long as the first journal is or was just full.
        let (mut full, mut rotated) = (None, false);
        for (index, op) in self.log.ops.iter().enumerate() {
            if op.call == Call::Open {
                let path = op.path().strip_prefix(&self.root).expect("is below");
                paths.insert(op.fd, path);
                if path.ends_with("/1.jnl") {
                    (full, rotated) = (Some(Place::Rotation), true);
                }
            }
            if op.call == Call::Unlink && op.path().ends_with("/0.jnl") {
                full = None;
            }
            let path = paths.get(&op.fd).copied().unwrap_or_default();
            let is_journal = path.ends_with(".jnl");
            let here = full;
            let mut add = |at, acks, place| {
                self.points.push(Point { at, acks, place: here.unwrap_or(place) });
            };
            match op.call {
                Call::Write if path == "/acks" => {
                    self.acks.push(Ack::decode(self.log.bytes(op)));
                    if self.acks.last().is_some_and(|ack| ack.is_big()) && !rotated {
                        full = full.or(Some(Place::Filling));
                    }
                    add(index + 1, self.acks.len(), Place::Commits);
                }
                // With all of a batch unsynced.
                Call::Sync if is_journal => add(index, self.acks.len(), Place::Commits),
                Call::Sync | Call::Rename | Call::Unlink | Call::MakeDir | Call::SetLen => {
                    add(index, self.acks.len(), Place::Files);
                    add(index + 1, self.acks.len(), Place::Files);
                }
                // In the middle of a table or a version.
                Call::Write if !is_journal => add(index, self.acks.len(), Place::Files),
                _ => {}
            }
        }
    }

    /// At most so many points of each place, evenly, in order.
    fn sample(&self, counts: &[(Place, usize)]) -> Vec<Point> {
        let mut chosen = Vec::new();
        for (place, count) in counts {
            let all: Vec<&Point> = self.points.iter().filter(|p| p.place == *place).collect();
            let is_chosen = |n: usize| n * count / all.len() != (n + 1) * count / all.len();
            chosen.extend((0..all.len()).filter(|n| is_chosen(*n)).map(|n| *all[n]));
        }
        chosen.sort_by_key(|point| point.at);
        chosen
    }

    /// Calls that made, renamed or removed a file with such a name.
    fn count(&self, call: Call, name: &str) -> usize {
        let is_it = |op: &&Op| op.call == call && op.path().contains(name);
        self.log.ops.iter().filter(is_it).count()
    }

    /// Builds states at points, opens them and compares them; what was wrong with some of them.
    fn explore(&self, points: &[Point], batches: &Batches, dir: &Path) -> Vec<String> {
        let failures = Mutex::new(Vec::new());
        let store = format!("{}/store", self.root);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, failures) = (&store, &failures);
                scope.spawn(move || {
                    let mut disk = self.disk();
                    for (state, point) in points.iter().enumerate().skip(thread).step_by(THREADS) {
                        disk.advance(point.at);
                        let (crash, target) =
                            (manner(state / THREADS), dir.join(state.to_string()));
                        std::fs::create_dir(&target).expect("makes");
                        disk.crash(crash, &mut Dice::new(1 + state as u64), store, &target);
                        let expected = Expected { batches, acks: &self.acks[..point.acks] };
                        if let Err(why) = check(&target, &expected, state % OPENED_TWICE == 0) {
                            let why = format!("state {state} at {}, {crash:?}: {why}", point.at);
                            failures.lock().push(why);
                        }
                        std::fs::remove_dir_all(&target).expect("removes");
                    }
                });
            }
        });
        failures.into_inner()
    }
}

/// The manner of the crash of a state: all combinations in turn.
fn manner(state: usize) -> Crash {
    let unsynced = |n: usize| match n % 6 {
        0 => Unsynced::Lost,
        1 => Unsynced::Kept,
        _ => Unsynced::Diced,
    };
    let rule = if state.is_multiple_of(2) { Names::Ordered } else { Names::Strict };
    Crash { rule, names: unsynced(state / 2), data: unsynced(state / 12) }
}

/// Opens a state and compares it.
fn check(dir: &Path, expected: &Expected<'_>, twice: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let open = || {
            let opened = Lsm::open(dir, Runtime::real(), workload::options());
            opened.map_err(|e| format!("does not open: {e}"))
        };
        let mut store = open()?;
        let before = expected.check(&store).await?;
        if twice {
            drop(store);
            store = open().map_err(|e| format!("a second time: {e}"))?;
            let after = expected.check(&store).await.map_err(|e| format!("a second time: {e}"))?;
            if before != after {
                return Err("another open, other batches".to_owned());
            }
        }
        workload::go_on(&store, expected.acks).await
    })
}

#[test]
fn power_cuts_lose_nothing() {
    let dir = scratch();
    let recorder = recorder(dir.path());
    let batches = Batches::new();
    std::fs::create_dir(dir.path().join("root")).expect("makes");
    let first = record(&recorder, dir.path(), &[]).expect("is recorded");
    let count = |place| first.points.iter().filter(|point| point.place == place).count();
    let counts = STATES.map(|(place, states)| (place, states, count(place)));
    tracing::info!(calls = first.log.ops.len(), acks = first.acks.len(), ?counts, "recorded");
    // It has everything that the states are about.
    assert!(first.count(Call::Open, "/1.jnl") > 0, "no journal was rotated");
    assert!(first.count(Call::Unlink, "/0.jnl") > 0, "no journal was dropped");
    assert!(first.count(Call::Rename, "/current") > 40, "few flushes");
    assert!(first.count(Call::Unlink, "/tables/") > 10, "few compactions");
    let points = first.sample(&STATES);
    let mut failures = first.explore(&points, &batches, dir.path());
    let mut disk = first.disk();
    for (round, point) in points.iter().step_by(points.len() / AGAIN).enumerate() {
        let dir = scratch();
        let store = dir.path().join("root/store");
        std::fs::create_dir_all(&store).expect("makes");
        disk.advance(point.at);
        let rule = if round.is_multiple_of(2) { Names::Ordered } else { Names::Strict };
        let crash = Crash { rule, names: Unsynced::Diced, data: Unsynced::Diced };
        let seed = 1000 + round as u64;
        disk.crash(crash, &mut Dice::new(seed), &format!("{}/store", first.root), &store);
        let wrong = match record(&recorder, dir.path(), &first.acks[..point.acks]) {
            Ok(second) => second.explore(&second.sample(&STATES_AGAIN), &batches, dir.path()),
            Err(why) => vec![why],
        };
        failures.extend(wrong.iter().map(|why| format!("again, from {point:?}, {crash:?}: {why}")));
    }
    let all = failures.join("\n");
    assert!(failures.is_empty(), "{} wrong of a history with {counts:?}:\n{all}", failures.len());
}
