//! Scrub finds what is wrong with shards, sweep what is missing; both file it, and neither cries wolf.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use erasure::Geometry;
use net::{
    Carrier, Compacted, DriveStatus, Frame, LocalCarrier, Presence, ScrubBudget, ScrubSlice,
    ShardError, ShardHeader, ShardId, ShardWriter,
};
use objects::schema::repair::{self, Fault, Repair};
use objects::schema::scrub::{self as position, Progress as Position};
use objects::schema::{Home, Kind, Record as _, blob, kind_of};
use objects::*;
use parking_lot::Mutex;
use placement::{DriveRole, Layout};
use runtime::{Progress, Runtime, SimClock, Throttle, Worker};
use types::{BlobId, BucketId, DriveId, Token};

use crate::support::*;

/// The least length of an object whose shards have files of their own.
const FILES: usize = 3 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A carrier that notes what scrubs saw, and may tell of damage that is not there. A scrub takes a second of its
/// clock, so that pieces stay small.
struct Watched {
    inner: Arc<LocalCarrier>,
    clock: Arc<SimClock>,
    seen: Mutex<Vec<(DriveId, ShardId)>>,
    lies_once: AtomicBool,
    /// The drive that never answers; 0 for none.
    hanging: AtomicU64,
    /// Drives that are about to say which copies they have.
    answering: AtomicU64,
}

impl Watched {
    /// Time goes by when nothing else happens.
    async fn hang(&self, drive: DriveId) {
        while drive.get() == self.hanging.load(Ordering::SeqCst) {
            if self.answering.load(Ordering::SeqCst) == 0 {
                self.clock.advance(Duration::from_secs(10));
            }
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait::async_trait]
impl Carrier for Watched {
    async fn create(
        &self,
        drive: DriveId,
        header: ShardHeader,
    ) -> Result<Box<dyn ShardWriter>, ShardError> {
        self.inner.create(drive, header).await
    }

    async fn read(
        &self,
        drive: DriveId,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        self.inner.read(drive, id, first, count).await
    }

    async fn header(&self, drive: DriveId, id: ShardId) -> Result<ShardHeader, ShardError> {
        self.inner.header(drive, id).await
    }

    async fn delete(&self, drive: DriveId, id: ShardId) -> Result<bool, ShardError> {
        self.inner.delete(drive, id).await
    }

    async fn list(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        self.inner.list(drive, after, limit).await
    }

    async fn presence(
        &self,
        drive: DriveId,
        ids: Vec<ShardId>,
    ) -> Result<Vec<Presence>, ShardError> {
        self.hang(drive).await;
        self.answering.fetch_add(1, Ordering::SeqCst);
        let answer = self.inner.presence(drive, ids).await;
        self.answering.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn scrub(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        budget: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError> {
        self.hang(drive).await;
        let mut slice = self.inner.scrub(drive, after, budget).await?;
        self.clock.advance(Duration::from_secs(1));
        self.seen.lock().extend(slice.seen.iter().map(|seen| (drive, seen.id)));
        if self.lies_once.swap(false, Ordering::SeqCst) {
            slice.seen.iter_mut().for_each(|seen| seen.damaged.push(0));
        }
        Ok(slice)
    }

    async fn compact(&self, drive: DriveId, budget_bytes: u64) -> Result<Compacted, ShardError> {
        self.inner.compact(drive, budget_bytes).await
    }

    async fn status(&self, drive: DriveId) -> DriveStatus {
        self.inner.status(drive).await
    }
}

/// An engine for scrubbing over the world's store and drives.
struct Scrubber {
    engine: Engine,
    carrier: Arc<Watched>,
    clock: Arc<SimClock>,
}

impl Scrubber {
    async fn new(world: &World) -> Self {
        Self::with(world, |_| {}).await
    }

    async fn with(world: &World, change: impl FnOnce(&mut Layout)) -> Self {
        let clock = Arc::new(SimClock::default());
        clock.advance(DAY);
        let carrier = Arc::new(Watched {
            inner: world.carrier.clone(),
            clock: clock.clone(),
            seen: Mutex::default(),
            lies_once: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            answering: AtomicU64::new(0),
        });
        let drives = world.engine.drive_statuses().await;
        let mut layout = Layout::empty();
        layout.drives = drives.into_iter().map(|(drive, _)| drive).collect();
        change(&mut layout);
        let config = EngineConfig {
            kv: world.kv.clone(),
            carrier: carrier.clone(),
            geometry: Geometry::default_for(layout.drives.len()),
            layout,
            runtime: Runtime { clock: clock.clone(), entropy: Runtime::real().entropy },
            region: String::new(),
            label: "scrubber".to_owned(),
            memory_budget_bytes: 1 << 20,
            throttle: Arc::new(Throttle::new(clock.clone(), 0.2)),
            upkeep: UpkeepOptions::default(),
        };
        let engine = Engine::start(config).await.expect("the engine starts");
        Self { engine, carrier, clock }
    }

    fn worker(&self, name: &str) -> Box<dyn Worker> {
        self.engine.workers().into_iter().find(|worker| worker.name() == name).expect("a worker")
    }

    /// A whole round of a worker.
    async fn round(&self, name: &str) {
        let mut worker = self.worker(name);
        worker.round_asked();
        run(&mut *worker).await;
    }

    /// A pass both ways.
    async fn pass(&self) {
        self.round("scrub").await;
        self.round("sweep").await;
    }

    async fn position(&self, world: &World, drive: u64) -> Position {
        let key = position::key(DriveId::new(drive));
        let found = world.kv.get(&key).await.expect("a look").expect("a record");
        Position::decode(&found.value).expect("a position")
    }
}

/// Steps until there is nothing to do; for how long.
async fn run(worker: &mut dyn Worker) -> Duration {
    loop {
        if let Progress::Idle(rest) = worker.step().await.expect("a step") {
            return rest;
        }
    }
}

/// All repair tasks that are filed: which copies are missed and why, by blob and shard.
async fn tasks(world: &World) -> BTreeMap<(BlobId, u8), Fault> {
    let range = kv::KeyRange::new(
        repair::range(Token(0)).start().clone(),
        repair::range(Token(u32::MAX)).end().clone(),
    );
    let page = world.kv.scan(&range.expect("a range"), 4096, kv::Direction::Forward).await;
    let mut tasks = BTreeMap::new();
    for entry in page.expect("a page").entries {
        if kind_of(entry.key.as_bytes()).is_some_and(|(_, kind)| kind == Kind::Repair) {
            let (_, id) = repair::parse_key(entry.key.as_bytes()).expect("a task's key");
            let task = Repair::decode(&entry.value).expect("a task");
            tasks.extend(task.copies.iter().map(|missed| ((id, missed.index), missed.fault)));
        }
    }
    tasks
}

/// All shards on all drives.
async fn shards(world: &World) -> Vec<(DriveId, ShardHeader)> {
    let mut all = Vec::new();
    for drive in world.carrier.drives() {
        let headers = world.carrier.list(drive, None, 100_000).await.expect("a list");
        all.extend(headers.into_iter().map(|header| (drive, header)));
    }
    all.sort_by_key(|(drive, header)| (*drive, header.id));
    all
}

/// The file of its own that a large shard has.
fn file(world: &World, drive: DriveId, id: ShardId) -> PathBuf {
    let name = format!("{:016x}-{:02x}-{}.shard", id.blob.sequence, id.index, id.copy);
    find(&world.drive_dir(drive), &name).expect("the shard's file")
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut entries =
        std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path());
    entries.find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}

fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

/// Flips a bit where these bytes stand in a segment of the drive.
fn flip_in_segments(world: &World, drive: DriveId, bytes: &[u8]) -> bool {
    let segments = std::fs::read_dir(world.drive_dir(drive).join("segments")).expect("segments");
    for path in segments.map(|entry| entry.expect("an entry").path()) {
        let content = std::fs::read(&path).expect("read");
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            flip(&path, at as u64);
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_found_and_filed_and_nothing_else() {
    let world = World::new().await;
    for n in 0..6_u64 {
        world.put(&format!("large-{n}"), &bytes(FILES, n)).await;
        world.put(&format!("small-{n}"), &bytes(LARGE, 100 + n)).await;
    }
    let scrubber = Scrubber::new(&world).await;
    scrubber.pass().await;
    assert_eq!(tasks(&world).await, BTreeMap::new(), "a sound store");
    let before = scrubber.engine.scrub_metrics();
    assert!(before.frames > 0 && before.bytes > 0 && before.passes == DRIVES && before.blobs == 12);

    let large: Vec<_> =
        shards(&world).await.into_iter().filter(|(_, h)| h.payload_len >= 1 << 20).collect();
    let on =
        |drive: u64| large.iter().filter(move |(d, _)| d.get() == drive).map(|(d, h)| (*d, h.id));
    let mut expected = BTreeMap::new();
    let mut damage = |(drive, id): (DriveId, ShardId), fault, spoil: &dyn Fn(&Path)| {
        spoil(&file(&world, drive, id));
        expected.insert((id.blob, id.index), fault);
    };
    let at = |drive, n| on(drive).nth(n).expect("a shard");
    damage(at(1, 0), Fault::Corrupt, &|path| flip(path, 700_000));
    damage(at(1, 1), Fault::Corrupt, &|path| flip(path, 12));
    damage(at(1, 2), Fault::Corrupt, &|path| {
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        file.set_len(500_000).expect("cut");
    });
    damage(at(1, 3), Fault::Missing, &|path| std::fs::remove_file(path).expect("removed"));
    damage(at(1, 4), Fault::Corrupt, &|path| std::fs::write(path, b"").expect("emptied"));
    // Two files change places: under each other's names, on each other's drives.
    let (one, other) = (at(2, 5), at(3, 0));
    let (a, b) = (file(&world, one.0, one.1), file(&world, other.0, other.1));
    let (in_a, in_b) = (std::fs::read(&a).expect("read"), std::fs::read(&b).expect("read"));
    damage(one, Fault::Corrupt, &|path| std::fs::write(path, &in_b).expect("written"));
    damage(other, Fault::Corrupt, &|path| std::fs::write(path, &in_a).expect("written"));
    // The first data shard of a small object begins with the object's bytes.
    let head = &bytes(LARGE, 103)[1000..1032];
    let drive = (1..=DRIVES).map(DriveId::new).find(|d| flip_in_segments(&world, *d, head));
    let drive = drive.expect("the shard is in a segment");

    scrubber.pass().await;
    let mut found = tasks(&world).await;
    let small = found.iter().find(|(key, _)| !expected.contains_key(key)).map(|(k, f)| (*k, *f));
    let ((blob, index), fault) = small.expect("the small one is found, too");
    assert_eq!((index, fault), (0, Fault::Corrupt));
    let is_there = shards(&world).await.iter().any(|(d, h)| *d == drive && h.id.blob == blob);
    assert!(is_there, "it is a shard of the drive that was spoilt");
    found.remove(&(blob, index));
    assert_eq!(found, expected);
    let metrics = scrubber.engine.scrub_metrics();
    assert!(metrics.corrupt >= 7 && metrics.missing == 1, "{metrics:?}");
    assert_eq!(metrics.orphans, 0);
    for n in 0..6_u64 {
        assert_eq!(world.get(&format!("large-{n}")).await, Some(bytes(FILES, n)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_once_is_no_damage() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    let scrubber = Scrubber::new(&world).await;
    scrubber.carrier.lies_once.store(true, Ordering::SeqCst);
    scrubber.pass().await;
    assert!(!scrubber.carrier.lies_once.load(Ordering::SeqCst));
    assert_eq!(tasks(&world).await, BTreeMap::new());
    assert_eq!(scrubber.engine.scrub_metrics().corrupt, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_visits_every_shard_once_while_others_come_and_go() {
    let world = World::new().await;
    for n in 0..40_u64 {
        world.put(&format!("k{n:02}"), &bytes(20_000, n)).await;
    }
    let scrubber = Scrubber::new(&world).await;
    let all: BTreeSet<_> = shards(&world).await.into_iter().map(|(d, h)| (d, h.id)).collect();
    let mut worker = scrubber.worker("scrub");
    worker.round_asked();
    let (mut n, mut gone) = (0_u64, BTreeSet::new());
    while let Progress::More = worker.step().await.expect("a step") {
        world.put(&format!("new-{n}"), &bytes(20_000, n)).await;
        // One of the old goes, too, from a drive only: whether it is seen depends on how far the pass is.
        if n < 20 {
            let victim = *all.iter().nth((n * 9) as usize % all.len()).expect("a shard");
            world.carrier.delete(victim.0, victim.1).await.expect("a delete");
            gone.insert(victim);
        }
        n += 1;
    }
    assert!(n > 20, "{n} steps are too few to mean anything");
    let seen = scrubber.carrier.seen.lock().clone();
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "none is seen twice");
    let stayed: Vec<_> = all.difference(&gone).filter(|shard| !once.contains(shard)).collect();
    assert!(stayed.is_empty(), "{stayed:?} were missed");
    assert!((1..=DRIVES).all(|drive| seen.iter().any(|(d, _)| d.get() == drive)));
    for drive in 1..=DRIVES {
        let position = scrubber.position(&world, drive).await;
        assert!(position.after.is_none() && position.ended_at_ms.is_some(), "{position:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_slice_ended() {
    let world = World::new().await;
    for n in 0..3_u64 {
        world.put(&format!("{n}"), &bytes(LARGE, n)).await;
    }
    let mut seen = Vec::new();
    for restart in 1..=3_u64 {
        let scrubber = Scrubber::new(&world).await;
        // Of so little, a slice is one shard of each drive.
        let rest = run(&mut *scrubber.worker("scrub")).await;
        assert!(rest <= Duration::from_secs(300), "{rest:?}");
        seen.extend(scrubber.carrier.seen.lock().drain(..));
        assert_eq!(seen.len() as u64, restart * DRIVES);
        assert_eq!(scrubber.position(&world, 1).await.shards, restart);
    }
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "none is seen twice");

    // The pass has ended, and the next begins in its time and not before.
    let scrubber = Scrubber::new(&world).await;
    let mut worker = scrubber.worker("scrub");
    run(&mut *worker).await;
    scrubber.clock.advance(Duration::from_secs(200));
    run(&mut *worker).await;
    assert_eq!(scrubber.carrier.seen.lock().len() as u64, DRIVES);
    scrubber.clock.advance(Duration::from_secs(100));
    run(&mut *worker).await;
    assert_eq!(scrubber.carrier.seen.lock().len() as u64, 2 * DRIVES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_a_drive_that_was_replaced_by_an_empty_one() {
    let world = World::new().await;
    for n in 0..30_u64 {
        world.put(&format!("{n}"), &bytes(20_000, n)).await;
    }
    let drive = DriveId::new(2);
    let lost = world.carrier.list(drive, None, 1000).await.expect("a list");
    let store = world.carrier.detach(drive).expect("it was there");
    store.close().await;

    let scrubber = Scrubber::new(&world).await;
    scrubber.pass().await;
    assert_eq!(tasks(&world).await, BTreeMap::new(), "it is only away, and may come back");

    let fresh = tempfile::tempdir().expect("a directory");
    world.carrier.attach(drive, open_drive(fresh.path(), drive, &Runtime::real()));
    let mut worker = scrubber.worker("sweep");
    assert!(run(&mut *worker).await > Duration::ZERO, "nobody asked");
    assert_eq!(tasks(&world).await, BTreeMap::new());
    scrubber.engine.sweep();
    run(&mut *worker).await;
    let expected = lost.iter().map(|h| ((h.id.blob, h.id.index), Fault::Missing)).collect();
    assert_eq!(tasks(&world).await, expected);
    assert_eq!(scrubber.engine.scrub_metrics().missing, 30);
    assert_eq!(worker.gauge().done, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_comes_by_itself_soon_after_the_start_and_files_what_is_on_drives_that_are_out() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    let out = DriveId::new(4);
    let on_it = world.carrier.list(out, None, 10).await.expect("a list");
    let change = |layout: &mut Layout| {
        for drive in layout.drives.iter_mut().filter(|drive| drive.id == out) {
            drive.state = DriveRole::Out;
        }
    };
    let scrubber = Scrubber::with(&world, change).await;
    let mut worker = scrubber.worker("sweep");
    run(&mut *worker).await;
    assert_eq!(tasks(&world).await, BTreeMap::new(), "not yet");
    scrubber.clock.advance(Duration::from_secs(60));
    run(&mut *worker).await;
    let expected = on_it.iter().map(|h| ((h.id.blob, h.id.index), Fault::Away)).collect();
    assert_eq!(tasks(&world).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_back_is_deleted_when_its_writer_has_ended() {
    let world = World::new().await;
    world.put("a", &bytes(FILES, 1)).await;
    world.put("kept", &bytes(FILES, 2)).await;
    let all = shards(&world).await;
    let (drive, old) = *all.iter().find(|(d, _)| d.get() == 3).expect("a shard");
    let path = file(&world, drive, old.id);
    let content = std::fs::read(&path).expect("read");
    // What collection does to a deleted object, in short.
    let key = blob::key(Home::of(BucketId::new(old.home)), old.id.blob);
    let mut batch = kv::Batch::default();
    batch.write(kv::Write::Delete(key));
    world.kv.commit(world.engine.next_batch_id(), batch).await.expect("committed");
    for (drive, header) in all.iter().filter(|(_, h)| h.id.blob == old.id.blob) {
        world.carrier.delete(*drive, header.id).await.expect("a delete");
    }
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(&path, content).expect("put back");

    let scrubber = Scrubber::new(&world).await;
    scrubber.round("scrub").await;
    assert!(path.exists(), "its writer might still commit");
    world.engine.stop().await;
    scrubber.round("scrub").await;
    assert!(!path.exists());
    assert_eq!(scrubber.engine.scrub_metrics().orphans, 1);
    assert_eq!(shards(&world).await.len(), 5, "the other object's are all there");
    assert_eq!(tasks(&world).await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_hangs_is_told_of_and_holds_nothing_up() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    let scrubber = Scrubber::new(&world).await;
    scrubber.carrier.hanging.store(3, Ordering::SeqCst);
    let removed = shards(&world).await.into_iter().find(|(d, _)| d.get() == 1).expect("a shard");
    world.carrier.delete(removed.0, removed.1.id).await.expect("a delete");
    for name in ["scrub", "sweep"] {
        let mut worker = scrubber.worker(name);
        worker.round_asked();
        let mut errors = Vec::new();
        loop {
            match worker.step().await {
                Ok(Progress::More) => {}
                Ok(Progress::Idle(_)) => break,
                Err(error) => errors.push(error),
            }
        }
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert!(errors[0].ends_with("failed: it does not answer"), "{errors:?}");
    }
    let drives: BTreeSet<_> = scrubber.carrier.seen.lock().iter().map(|(d, _)| d.get()).collect();
    assert_eq!(drives, BTreeSet::from([2, 4, 5]), "the other drives that have a shard");
    let id = removed.1.id;
    assert_eq!(tasks(&world).await, BTreeMap::from([((id.blob, id.index), Fault::Missing)]));
}
