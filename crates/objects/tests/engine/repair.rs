//! What is lost or damaged is made again, wherever that can be, and nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use net::{Carrier as _, ShardId};
use objects::schema::blob::{self, Blob};
use objects::schema::{CopyPlace, Record as _};
use objects::*;
use parking_lot::Mutex;
use runtime::{Progress, Runtime, SimClock, Worker};
use types::DriveId;

use crate::hooked::{Fate, Hooked};
use crate::support::*;

/// A body whose shards have files of their own.
pub const HUGE: usize = 5 << 20;

/// The workers of an engine, run by hand.
pub struct Crew {
    workers: Vec<Box<dyn Worker>>,
}

impl Crew {
    pub fn of(engine: &Engine) -> Self {
        Self { workers: engine.workers() }
    }

    /// Runs a worker until it has nothing to do, at most `steps` steps.
    pub async fn try_run(&mut self, name: &str, steps: usize) -> Result<(), String> {
        let worker = self.workers.iter_mut().find(|worker| worker.name() == name);
        let worker = worker.expect("a worker");
        worker.round_asked();
        for _ in 0..steps {
            if let Progress::Idle(_) = worker.step().await? {
                return Ok(());
            }
        }
        panic!("{name} does not come to rest");
    }

    pub async fn run(&mut self, name: &str) {
        self.try_run(name, 1000).await.expect("a step");
    }

    /// Files what reads have met, and repairs what is filed.
    pub async fn repair(&mut self) {
        self.run("repair-filer").await;
        self.run("repair").await;
    }

    /// Compares all records with the drives, and repairs.
    pub async fn sweep(&mut self) {
        self.run("sweep").await;
        self.run("repair").await;
    }
}

/// All blobs that have a record.
pub async fn blobs(world: &World) -> Vec<Blob> {
    let records = world.records().await.into_iter();
    let blobs = records.filter(|(key, _)| blob::parse_key(key).is_some());
    blobs.map(|(_, value)| Blob::decode(&value).expect("a blob")).collect()
}

fn shard(blob: &Blob, place: &CopyPlace) -> ShardId {
    ShardId { blob: blob.location.id, index: place.index, copy: place.copy }
}

/// How a copy is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Delete,
    Flip,
    Cut,
}

impl Harm {
    async fn to(self, world: &World, blob: &Blob, index: u8) {
        let place = blob.location.copies.iter().find(|place| place.index == index);
        let place = place.expect("a copy");
        let id = shard(blob, place);
        if self == Self::Delete {
            assert!(world.carrier.delete(place.drive, id).await.expect("deleted"));
            return;
        }
        let frames = world.carrier.read(place.drive, id, 1, 1).await.expect("a frame");
        let needle = frames[0].payload[..200].to_vec();
        let (path, mut bytes, at) = find(&world.drive_dir(place.drive), &needle);
        match self {
            Self::Flip => bytes[at + 100] ^= 4,
            Self::Cut => bytes.truncate(at + 50),
            Self::Delete => {}
        }
        // In place: the drive has the file open.
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("written");
        file.set_len(bytes.len() as u64).expect("cut");
        file.sync_all().expect("synced");
    }
}

/// Where the bytes are: file, content, offset.
fn find(dir: &std::path::Path, needle: &[u8]) -> (std::path::PathBuf, Vec<u8>, usize) {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                return (path, bytes, at);
            }
        }
    }
    panic!("the bytes are nowhere");
}

/// Every copy that a record names is there, every frame of it is whole, every shard has one, on a drive of its own,
/// and no task is left.
pub async fn all_is_whole(world: &World) {
    for blob in blobs(world).await {
        let copies = &blob.location.copies;
        let indexes: Vec<usize> = copies.iter().map(|c| usize::from(c.index)).collect();
        assert_eq!(indexes, (0..blob.location.geometry.total()).collect::<Vec<_>>());
        let drives: BTreeSet<DriveId> = copies.iter().map(|c| c.drive).collect();
        assert_eq!(drives.len(), copies.len(), "each shard on a drive of its own");
        for place in copies {
            let id = shard(&blob, place);
            let header = world.carrier.header(place.drive, id).await.expect("the copy");
            let mut at = 0;
            while at < header.frames() {
                let frames = world.carrier.read(place.drive, id, at, 64).await.expect("frames");
                assert!(!frames.is_empty());
                for frame in frames {
                    assert!(frame.verifies(&id, at), "frame {at} of {id:?}");
                    at += 1;
                }
            }
        }
    }
    let census = world.check().await;
    assert!(census.repairs.is_empty(), "{:?}", census.repairs);
}

/// Copies on all drives.
async fn copies_on_drives(world: &World) -> usize {
    let mut count = 0;
    for drive in world.carrier.drives() {
        count += world.carrier.list(drive, None, 10_000).await.expect("a list").len();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_damaged_copies_are_made_again() {
    let world = World::new().await;
    let mut crew = Crew::of(&world.engine);
    let harms: [(usize, Harm, &[u8]); 8] = [
        (LARGE, Harm::Delete, &[1]),
        (LARGE, Harm::Delete, &[0, 4]),
        (LARGE, Harm::Flip, &[3]),
        (LARGE, Harm::Flip, &[1, 2]),
        (HUGE, Harm::Delete, &[0, 1]),
        (HUGE, Harm::Flip, &[4]),
        (HUGE, Harm::Cut, &[2]),
        (HUGE, Harm::Cut, &[0, 3]),
    ];
    for (seed, (len, harm, indexes)) in harms.into_iter().enumerate() {
        let content = bytes(len, seed as u64);
        world.put("a", &content).await;
        crate::collect::collect(&world.engine).await;
        let [before] = &blobs(&world).await[..] else { panic!("one blob") };
        for index in indexes {
            harm.to(&world, before, *index).await;
        }
        crew.run("scrub").await;
        crew.sweep().await;
        all_is_whole(&world).await;
        let [after] = &blobs(&world).await[..] else { panic!("one blob") };
        for (old, new) in before.location.copies.iter().zip(&after.location.copies) {
            assert_eq!((old.index, old.drive), (new.index, new.drive), "where it was");
            assert_eq!(old.copy != new.copy, indexes.contains(&old.index), "{harm:?}");
        }
        assert_eq!(world.get("a").await, Some(content));
        crate::collect::collect(&world.engine).await;
        assert_eq!(copies_on_drives(&world).await, 5, "the old copies are gone");
        assert_eq!(world.engine.metrics_snapshot().under_replicated, 0);
    }
    let metrics = world.engine.metrics_snapshot();
    assert_eq!(metrics.repaired_blobs, 8);
    assert!(metrics.repaired_bytes > HUGE as u64, "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_names_a_whole_copy_changes_nothing() {
    let world = World::new().await;
    let mut crew = Crew::of(&world.engine);
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    // Noted by reads while a drive is away, which is back before anybody looks.
    for drive in 1..=5 {
        let away = world.carrier.detach(DriveId::new(drive)).expect("a drive");
        assert_eq!(world.get("a").await, Some(content.clone()));
        world.carrier.attach(DriveId::new(drive), away);
    }
    crew.run("repair-filer").await;
    assert_eq!(world.check().await.repairs.len(), 1);
    let before = blobs(&world).await;
    crew.run("repair").await;
    assert_eq!(blobs(&world).await, before);
    all_is_whole(&world).await;
    let metrics = world.engine.metrics_snapshot();
    assert_eq!((metrics.under_replicated, metrics.repaired_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_that_is_away_is_waited_for() {
    let world = World::new().await;
    let mut crew = Crew::of(&world.engine);
    let (early, late) = (bytes(LARGE, 1), bytes(HUGE, 2));
    world.put("early", &early).await;
    let away = world.carrier.detach(DriveId::new(3)).expect("a drive");
    world.put("late", &late).await;
    for _ in 0..3 {
        assert_eq!(world.get("early").await, Some(early.clone()));
        crew.repair().await;
    }
    let before = blobs(&world).await;
    crew.run("repair-census").await;
    assert!(world.engine.metrics_snapshot().under_replicated >= 1);
    world.carrier.attach(DriveId::new(3), away);
    // Nobody has to ask for it.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    crew.run("repair").await;
    all_is_whole(&world).await;
    assert_eq!(world.engine.metrics_snapshot().under_replicated, 0, "healthy again");
    let after = blobs(&world).await;
    assert_eq!((before.len(), after.len()), (2, 2));
    for (before, after) in before.iter().zip(&after) {
        // What there was is as it was.
        let kept = |place: &&CopyPlace| after.location.copies.contains(place);
        assert_eq!(
            before.location.copies.iter().filter(kept).count(),
            before.location.copies.len()
        );
    }
    assert_eq!(world.get("late").await, Some(late));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_drive_is_filled_again() {
    let world = World::new().await;
    let mut crew = Crew::of(&world.engine);
    let mut contents = Vec::new();
    for n in 0..30 {
        let content = bytes(if n % 10 == 0 { HUGE } else { 20_000 + 1000 * n }, n as u64);
        world.put(&format!("o{n}"), &content).await;
        contents.push(content);
    }
    let upload = world.begin("parts").await;
    let parts = [bytes(PART, 100), bytes(LARGE, 101)];
    let one = world.part("parts", upload, 1, &parts[0]).await.etag;
    let two = world.part("parts", upload, 2, &parts[1]).await.etag;
    world.complete("parts", upload, &[(1, &one), (2, &two)]).await.expect("made");
    let open = world.begin("open").await;
    world.part("open", open, 1, &bytes(LARGE, 102)).await;
    for lost in [2, 5] {
        let drive = DriveId::new(lost);
        let old = world.carrier.detach(drive).expect("a drive");
        old.close().await;
        let dir = world.drive_dir(drive).join("new");
        world.carrier.attach(drive, open_drive(&dir, drive, &Runtime::real()));
        world.engine.sweep();
        crew.sweep().await;
        all_is_whole(&world).await;
    }
    // Both new drives are needed now.
    for drive in [1, 3] {
        world.carrier.detach(DriveId::new(drive));
    }
    for (n, content) in contents.iter().enumerate() {
        assert_eq!(world.get(&format!("o{n}")).await.as_ref(), Some(content));
    }
    assert_eq!(world.get("parts").await, Some(parts.concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn spare_drives_take_over_what_has_been_away_for_too_long() {
    let mut world = World::sized(9, |kv| kv).await;
    let clock = Arc::new(SimClock::default());
    let runtime = Runtime { clock: clock.clone(), ..Runtime::real() };
    world.engine.stop().await;
    world.engine = world.engine_with(|config| config.runtime = runtime).await;
    let mut crew = Crew::of(&world.engine);
    for n in 0..12 {
        world.put(&format!("{n}"), &bytes(100_000 + n as usize, n)).await;
    }
    world.put("huge", &bytes(2 * HUGE, 99)).await;
    let before = blobs(&world).await;
    let drive = before[0].location.copies[0].drive;
    let away = world.carrier.detach(drive).expect("a drive");
    let out_after = UpkeepOptions::default().out_after;
    for _ in 0..2 {
        crew.sweep().await;
        assert_eq!(blobs(&world).await, before, "not yet");
        clock.advance(out_after / 2 - Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(3));
    // It asks for a sweep by itself.
    crew.run("repair").await;
    crew.sweep().await;
    all_is_whole(&world).await;
    let after = blobs(&world).await;
    let mut moved = 0;
    for (before, after) in before.iter().zip(&after) {
        for (old, new) in before.location.copies.iter().zip(&after.location.copies) {
            assert_ne!(new.drive, drive);
            assert_eq!(old == new, old.drive != drive);
            moved += usize::from(old != new);
        }
    }
    assert!(moved >= 1);
    // It comes back with copies that nobody names any more.
    world.carrier.attach(drive, away);
    clock.advance(Duration::from_secs(2));
    crew.run("repair").await;
    crew.sweep().await;
    crate::collect::collect(&world.engine).await;
    all_is_whole(&world).await;
    assert_eq!(copies_on_drives(&world).await, 13 * 8);
    for n in 0..12 {
        assert_eq!(world.get(&format!("{n}")).await, Some(bytes(100_000 + n as usize, n)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_again_is_told_and_tried_again() {
    let world = World::new().await;
    let mut crew = Crew::of(&world.engine);
    world.put("lost", &bytes(LARGE, 1)).await;
    world.put("kept", &bytes(LARGE, 2)).await;
    let all = blobs(&world).await;
    let lost = &all[0];
    for index in [0, 2, 3] {
        Harm::Delete.to(&world, lost, index).await;
    }
    Harm::Delete.to(&world, &all[1], 1).await;
    crew.sweep().await;
    let metrics = world.engine.metrics_snapshot();
    assert_eq!((metrics.unrecoverable, metrics.repaired_blobs), (1, 1));
    assert_eq!(world.check().await.repairs, [(0, lost.location.id)]);
    assert_eq!(metrics.under_replicated, 1);
    let after = blobs(&world).await;
    let same = after.iter().find(|blob| blob.location.id == lost.location.id);
    assert_eq!(same, Some(lost), "nothing of it is touched");
    // Two drives away at once may come back: that is not lost.
    let away = [1, 2].map(|drive| world.carrier.detach(DriveId::new(drive)).expect("a drive"));
    let other = after.iter().find(|blob| blob.location.id != lost.location.id).expect("a blob");
    let here = other.location.copies.iter().find(|c| c.drive.get() > 2).expect("a copy").index;
    Harm::Delete.to(&world, other, here).await;
    crew.sweep().await;
    // What was lost may be on a drive that is away, for all that is known now.
    assert!(world.engine.metrics_snapshot().unrecoverable <= 1);
    for (drive, store) in [1, 2].into_iter().zip(away) {
        world.carrier.attach(DriveId::new(drive), store);
    }
    crew.sweep().await;
    assert_eq!(world.check().await.repairs, [(0, lost.location.id)]);
    assert_eq!(world.engine.metrics_snapshot().unrecoverable, 1);
    // With its last owner its task goes.
    for key in ["lost", "kept"] {
        if world.engine.get_object(world.on(key).await, GetRequest::default()).await.is_err() {
            world.delete(key).await;
        }
    }
    crate::collect::collect(&world.engine).await;
    crew.sweep().await;
    all_is_whole(&world).await;
    let metrics = world.engine.metrics_snapshot();
    assert_eq!((metrics.unrecoverable, metrics.under_replicated, metrics.objects), (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repairs_race_with_deletes_overwrites_and_each_other() {
    let world = World::new().await;
    let second = world.second_engine().await;
    let mut crews = [Crew::of(&world.engine), Crew::of(&second)];
    for round in 0..12_u64 {
        for n in 0..6 {
            world.put(&format!("{n}"), &bytes(LARGE, 100 * round + n)).await;
        }
        let all = blobs(&world).await;
        let harm = all.iter().map(|blob| {
            let index = ((round + blob.location.id.sequence) % 5) as u8;
            let place = blob.location.copies.iter().find(|place| place.index == index);
            let place = *place.expect("a copy");
            let (carrier, id) = (world.carrier.clone(), shard(blob, &place));
            async move { carrier.delete(place.drive, id).await }
        });
        join_all(harm).await;
        crews[0].run("sweep").await;
        let [one, two] = &mut crews;
        let changes = async {
            assert!(world.delete("0").await);
            world.put("1", &bytes(LARGE, 7777 + round)).await;
            crate::collect::collect(&world.engine).await;
            world.put("2", &bytes(LARGE, 8888 + round)).await;
        };
        futures::join!(one.run("repair"), two.run("repair"), changes);
        crews[0].run("repair").await;
        crate::collect::collect(&world.engine).await;
        crews[0].run("repair").await;
        all_is_whole(&world).await;
        assert_eq!(world.get("1").await, Some(bytes(LARGE, 7777 + round)));
        assert_eq!(world.get("2").await, Some(bytes(LARGE, 8888 + round)));
        for n in 3..6 {
            assert_eq!(world.get(&format!("{n}")).await, Some(bytes(LARGE, 100 * round + n)));
        }
    }
    for n in 1..6 {
        world.delete(&format!("{n}")).await;
    }
    second.stop().await;
    crate::collect::collect(&world.engine).await;
    assert_eq!(world.check().await.blobs, 0);
    assert_eq!(copies_on_drives(&world).await, 0);
}

/// A world whose commits meet these fates, one after the other; then they go well.
pub async fn fated() -> (World, Arc<Mutex<Vec<Fate>>>) {
    let fates: Arc<Mutex<Vec<Fate>>> = Arc::default();
    let next = fates.clone();
    let world = World::over(|inner| {
        let hook = Box::new(move |_| {
            let fate = next.lock().pop().unwrap_or(Fate::Go);
            async move { fate }.boxed()
        });
        Arc::new(Hooked { inner, hook })
    })
    .await;
    (world, fates)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_a_commit_no_copy_is_lost_or_left() {
    // As often as a commit is repeated under its id, and more.
    for (fate, times) in [
        (Fate::LoseReply, 1),
        (Fate::LoseReply, 5),
        (Fate::LoseReply, 9),
        (Fate::Vanish, 5),
        (Fate::Vanish, 9),
        (Fate::Refuse, 1),
        (Fate::Refuse, 2),
    ] {
        let (world, fates) = fated().await;
        let mut crew = Crew::of(&world.engine);
        let content = bytes(LARGE, 1);
        world.put("a", &content).await;
        let before = blobs(&world).await;
        Harm::Delete.to(&world, &before[0], 2).await;
        crew.run("sweep").await;
        *fates.lock() = vec![fate; times];
        let tries = 1 + times;
        let mut done = false;
        for _ in 0..tries {
            done = crew.try_run("repair", 100).await.is_ok();
            assert_eq!(world.get("a").await, Some(content.clone()));
        }
        assert!(done, "{fate:?} {times}");
        fates.lock().clear();
        crew.run("repair").await;
        all_is_whole(&world).await;
        crate::collect::collect(&world.engine).await;
        assert_eq!(copies_on_drives(&world).await, 5, "{fate:?} {times}");
        assert_eq!(world.get("a").await, Some(content));
    }
}
