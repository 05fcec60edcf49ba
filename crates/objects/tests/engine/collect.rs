//! What nothing refers to any more goes, wholly, and never under a reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use kv::{Batch, Write};
use net::{Carrier as _, Frame, ShardHeader, ShardId};
use objects::schema::garbage::{self, Candidate, Garbage};
use objects::schema::hold::{self, Orphans, Switch};
use objects::schema::{CopyPlace, Home, Kind, Record as _, blob, kind_of};
use objects::*;
use runtime::disk::RealDisk;
use runtime::{Progress, Runtime, Worker};
use shards::{Store, StoreOptions};
use types::{BatchId, BlobId, BucketId, CopyId, DriveId, SessionId, UnixMillis};

use crate::hooked::{Fate, Hooked};
use crate::support::*;

/// Runs the collector until a tour comes to nothing.
pub async fn collect(engine: &Engine) {
    let mut worker = worker(engine, "collect");
    while let Progress::More = worker.step().await.expect("a step") {}
}

fn worker(engine: &Engine, name: &str) -> Box<dyn Worker> {
    engine.workers().into_iter().find(|worker| worker.name() == name).expect("a worker")
}

/// Shards on all drives.
async fn shards(world: &World) -> u64 {
    world.engine.drive_statuses().await.iter().map(|(_, status)| status.shards).sum()
}

async fn used(world: &World) -> u64 {
    world.engine.drive_statuses().await.iter().map(|(_, status)| status.used_bytes).sum()
}

/// Collects, and then nothing is filed, and everything on the drives is named and everything named there.
pub async fn all_is_clean(world: &World) {
    collect(&world.engine).await;
    let census = world.check().await;
    assert!(census.garbage.is_empty(), "{:?}", census.garbage);
    assert_eq!(world.check_shards().await as u64, shards(world).await);
    world.check_copies().await;
}

/// At the end of a test, also while the background is still deleting what was given up.
pub async fn ends_clean(world: &World) {
    for _ in 0..500 {
        collect(&world.engine).await;
        if strays(world).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    all_is_clean(world).await;
}

/// Commits a batch under a session of its own.
async fn commit(world: &World, batch: Batch) {
    static SESSION: AtomicU64 = AtomicU64::new(1000);
    let session = SessionId::new(SESSION.fetch_add(1, Ordering::SeqCst));
    world.kv.open_session(session, "test", UnixMillis(0)).await.expect("a session");
    let outcome = world.kv.commit(BatchId { session, sequence: 1 }, batch).await;
    assert!(matches!(outcome, Ok(kv::Outcome::Committed(_))), "{outcome:?}");
    world.kv.end_session(session).await.expect("ended");
}

async fn copy(world: &World, from: &str, to: &str) -> Result<WriteResult, CopyError> {
    let (from, to) = (world.on(from).await, world.on(to).await);
    world.engine.copy_object(from, to, crate::copies::plain()).await
}

/// The only blob that there is.
pub async fn the_blob(world: &World) -> (kv::Key, blob::Blob) {
    let mut blobs = Vec::new();
    for (key, value) in world.records().await {
        if blob::parse_key(&key).is_some() {
            let key = kv::Key::new(key).expect("a key");
            blobs.push((key, blob::Blob::decode(&value).expect("a blob")));
        }
    }
    assert_eq!(blobs.len(), 1);
    blobs.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_and_replaced_goes() {
    let world = World::new().await;
    let before = used(&world).await;
    for seed in 0..3 {
        world.put("a", &bytes(LARGE, seed)).await;
        world.put("b", &bytes(2 << 20, seed)).await;
    }
    assert_eq!(shards(&world).await, 30);
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 10);
    assert_eq!(world.get("a").await, Some(bytes(LARGE, 2)));
    assert_eq!(world.get("b").await, Some(bytes(2 << 20, 2)));
    assert!(world.delete("a").await && world.delete("b").await);
    all_is_clean(&world).await;
    assert_eq!(world.check().await.blobs, 0);
    assert_eq!((shards(&world).await, used(&world).await), (0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_go_at_once() {
    let world = World::new().await;
    for n in 0..300_u64 {
        world.put(&format!("{n}"), &bytes(10_000, n)).await;
    }
    let proofs = futures::stream::iter(0..300)
        .then(async |n| world.on(&format!("{n}")).await)
        .collect::<Vec<_>>()
        .await;
    assert!(world.engine.delete_objects(proofs).await.iter().all(|r| matches!(r, Ok(true))));
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_stays_until_the_last_has_gone() {
    let world = World::new().await;
    let content = bytes(LARGE, 1);
    world.put("0", &content).await;
    for n in 0..50 {
        copy(&world, &format!("{n}"), &format!("{}", n + 1)).await.expect("a copy");
    }
    for n in 0..50 {
        assert!(world.delete(&format!("{n}")).await);
        if n % 10 == 0 {
            all_is_clean(&world).await;
        }
    }
    assert_eq!(world.get("50").await, Some(content));
    assert_eq!(shards(&world).await, 5);
    // All of its garbage at once, with more records than go together.
    for n in 0..50 {
        copy(&world, "50", &format!("{n}")).await.expect("a copy");
    }
    for n in 0..=50 {
        assert!(world.delete(&format!("{n}")).await);
    }
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}

/// A completed upload with parts that were replaced and parts left out, one in progress, and an aborted one.
async fn uploads(world: &World) {
    let upload = world.begin("set").await;
    world.part("set", upload, 1, &bytes(LARGE, 9)).await;
    let one = world.part("set", upload, 1, &bytes(PART, 1)).await;
    let two = world.part("set", upload, 2, &bytes(SMALL, 2)).await;
    world.part("set", upload, 3, &bytes(LARGE, 3)).await;
    world.part("set", upload, 4, &bytes(SMALL, 4)).await;
    world.part("set", upload, 5, b"").await;
    let parts = [(1, one.etag.as_str()), (2, two.etag.as_str())];
    world.complete("set", upload, &parts).await.expect("completed");
    more_uploads(world).await;
}

async fn more_uploads(world: &World) {
    let upload = world.begin("one").await;
    world.part("one", upload, 1, &bytes(LARGE, 1)).await;
    let two = world.part("one", upload, 2, &bytes(LARGE, 2)).await;
    world.complete("one", upload, &[(2, two.etag.as_str())]).await.expect("completed");
    let aborted = world.begin("aborted").await;
    for n in 1..30 {
        world.part("aborted", aborted, n, &bytes(SMALL, n.into())).await;
    }
    world.part("aborted", aborted, 60, &bytes(LARGE, 60)).await;
    world.abort("aborted", aborted).await.expect("aborted");
    let open = world.begin("open").await;
    world.part("open", open, 1, &bytes(LARGE, 5)).await;
    world.part("open", open, 2, &bytes(SMALL, 6)).await;
}

fn whole() -> Vec<u8> {
    [bytes(PART, 1), bytes(SMALL, 2)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_go_with_their_sets() {
    let world = World::new().await;
    uploads(&world).await;
    all_is_clean(&world).await;
    let census = world.check().await;
    assert_eq!((census.parts, census.blobs, census.manifests, census.uploads), (5, 3, 2, 1));
    assert!(world.delete("one").await);
    copy(&world, "set", "copy").await.expect("a copy");
    assert!(world.delete("set").await);
    all_is_clean(&world).await;
    assert_eq!(world.get("copy").await, Some(whole()));
    assert!(world.delete("copy").await);
    all_is_clean(&world).await;
    let census = world.check().await;
    assert_eq!((census.parts, census.blobs, census.manifests, census.uploads), (2, 1, 0, 1));
    assert_eq!(shards(&world).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_bucket() {
    let world = World::new().await;
    let other = world.create_bucket("other").await;
    world.engine.put_object(world.on_in("other", "keep").await, request(b"x")).await.expect("put");
    world.put("large", &bytes(LARGE, 1)).await;
    world.put("small", &bytes(SMALL, 1)).await;
    uploads(&world).await;
    for key in ["large", "small", "set", "one"] {
        assert!(world.delete(key).await);
    }
    world.engine.delete_bucket(world.on_bucket("first").await).await.expect("deleted");
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
    let token = Home::of(other.id).token();
    for (key, _) in world.records().await {
        assert_eq!(kind_of(&key).map(|(token, _)| token), Some(token), "{key:?}");
    }
}

/// Reads slowly, while the collector never rests.
async fn read_slowly(world: &World, mut body: OutputStream) -> Vec<u8> {
    let mut found = Vec::new();
    while let Some(piece) = body.next().await {
        found.extend_from_slice(&piece.expect("a piece"));
        collect(&world.engine).await;
    }
    found
}

async fn open(world: &World, key: &str) -> OutputStream {
    let found = world.engine.get_object(world.on(key).await, GetRequest::default()).await;
    found.expect("an object").body
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_what_is_gone_finish() {
    let world = World::new().await;
    let content = bytes(6 << 20, 1);
    world.put("deleted", &content).await;
    world.put("replaced", &content).await;
    let upload = world.begin("set").await;
    let one = world.part("set", upload, 1, &bytes(PART, 1)).await;
    let two = world.part("set", upload, 2, &bytes(2 << 20, 2)).await;
    let parts = [(1, one.etag.as_str()), (2, two.etag.as_str())];
    world.complete("set", upload, &parts).await.expect("completed");
    let bodies = [open(&world, "deleted").await, open(&world, "replaced").await];
    let set = open(&world, "set").await;
    assert!(world.delete("deleted").await && world.delete("set").await);
    world.put("replaced", b"new").await;
    for body in bodies {
        assert!(read_slowly(&world, body).await == content);
    }
    assert!(shards(&world).await >= 10);
    assert!(read_slowly(&world, set).await == [bytes(PART, 1), bytes(2 << 20, 2)].concat());
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}

/// The first reference goes before a read begins, the last one while it is open: that nothing is left does not say
/// that the read has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_between_two_deletes_finishes() {
    let world = World::new().await;
    let content = bytes(2 << 20, 1);
    world.put("a", &content).await;
    let upload = world.begin("set").await;
    let one = world.part("set", upload, 1, &bytes(PART, 1)).await;
    let two = world.part("set", upload, 2, &bytes(SMALL, 2)).await;
    let parts = [(1, one.etag.as_str()), (2, two.etag.as_str())];
    world.complete("set", upload, &parts).await.expect("completed");
    copy(&world, "a", "b").await.expect("a copy");
    copy(&world, "set", "set-2").await.expect("a copy");
    assert!(world.delete("a").await && world.delete("set").await);
    world.put("x", b"later than that").await;
    let (body, set) = (open(&world, "b").await, open(&world, "set-2").await);
    assert!(world.delete("b").await && world.delete("set-2").await);
    for _ in 0..5 {
        collect(&world.engine).await;
    }
    let census = world.check().await;
    assert_eq!((census.blobs, census.manifests, census.parts), (2, 1, 2), "nothing has gone");
    // The inline part is looked up only now.
    assert!(read_slowly(&world, body).await == content);
    assert!(read_slowly(&world, set).await == whole());
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}

/// Makes every copy again on the same drive, as repair does, and files the old ones.
async fn make_again(world: &World, key: &kv::Key, old: &blob::Blob) {
    let (mut new, id, home) = (old.clone(), old.location.id, home_of(world).await);
    for (n, place) in new.location.copies.iter_mut().enumerate() {
        let from = ShardId { blob: id, index: place.index, copy: place.copy };
        let to = ShardId { copy: CopyId::new(7000 + n as u64), ..from };
        let header = world.carrier.header(place.drive, from).await.expect("a header");
        let frames = world.carrier.read(place.drive, from, 0, 1000).await.expect("frames");
        let frames = frames.into_iter().enumerate();
        let frames = frames.map(|(at, f)| Frame::seal(&to, at as u64, f.payload)).collect();
        write_shard(world, place.drive, ShardHeader { id: to, ..header }, frames).await;
        place.copy = to.copy;
    }
    let garbage =
        Garbage { copies: old.location.copies.clone(), ..Garbage::filed(home, UnixMillis(0)) };
    let mut batch = Batch::default();
    batch.put(key.clone(), new.encode());
    let suffix = Candidate::Copies(id).suffix();
    batch.write(Write::PutStamped(garbage::prefix(home), suffix, garbage.encode()));
    commit(world, batch).await;
}

async fn write_shard(world: &World, drive: DriveId, header: ShardHeader, frames: Vec<Frame>) {
    let mut writer = world.carrier.create(drive, header).await.expect("begun");
    writer.write(frames).await.expect("written");
    writer.commit().await.expect("durable");
}

async fn home_of(world: &World) -> Home {
    let keys = world.records().await;
    let bucket = keys.iter().find_map(|(key, _)| schema::bucket::parse_key(key));
    Home::of(bucket.expect("a bucket"))
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_replaced_copies_finish() {
    let world = World::new().await;
    let content = bytes(6 << 20, 1);
    world.put("a", &content).await;
    let (key, old) = the_blob(&world).await;
    let body = open(&world, "a").await;
    make_again(&world, &key, &old).await;
    collect(&world.engine).await;
    assert_eq!(shards(&world).await, 10);
    assert!(read_slowly(&world, body).await == content);
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 5);
    // The hint in the object is old now, and the record says where the copies are.
    assert!(world.get("a").await.as_deref() == Some(&content[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_hold_and_end() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    assert!(world.delete("a").await);
    let far = UnixMillis(u64::MAX);
    let first = world.engine.put_hold("a backup", far).await.expect("a hold");
    let over = world.engine.put_hold("it has ended", UnixMillis(1)).await.expect("a hold");
    world.put("b", &bytes(LARGE, 2)).await;
    assert!(world.delete("b").await);
    for _ in 0..3 {
        collect(&world.engine).await;
    }
    assert_eq!(shards(&world).await, 10, "a: it is filed again behind the hold; b: it is held");
    let holds = world.engine.holds().await.expect("holds");
    assert_eq!(holds.len(), 2);
    world.engine.remove_hold(over).await.expect("removed");
    collect(&world.engine).await;
    assert_eq!(shards(&world).await, 10);
    world.engine.remove_hold(first).await.expect("removed");
    assert!(world.engine.holds().await.expect("holds").is_empty());
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
    // What cannot be read holds everything.
    let mut batch = Batch::default();
    batch.put(hold::key(1), "{}".as_bytes().to_vec());
    commit(&world, batch).await;
    world.put("a", &bytes(LARGE, 1)).await;
    assert!(world.delete("a").await);
    assert!(worker(&world.engine, "collect").step().await.is_err());
    assert_eq!(shards(&world).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn drives_that_are_away_are_waited_for() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    world.put("b", &bytes(2 << 20, 2)).await;
    let away = world.carrier.detach(DriveId::new(2)).expect("a drive");
    assert!(world.delete("a").await && world.delete("b").await);
    for _ in 0..3 {
        collect(&world.engine).await;
    }
    let census = world.check().await;
    assert_eq!((census.blobs, census.garbage.len(), shards(&world).await), (0, 2, 0));
    assert!(census.garbage.keys().all(|candidate| matches!(candidate, Candidate::Copies(_))));
    for (key, value) in world.records().await {
        if kind_of(&key).is_some_and(|(_, kind)| kind == Kind::Garbage) {
            let copies = Garbage::decode(&value).expect("garbage").copies;
            assert!(matches!(copies[..], [CopyPlace { drive, .. }] if drive == DriveId::new(2)));
        }
    }
    world.carrier.attach(DriveId::new(2), away);
    assert_eq!(shards(&world).await, 2);
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drives_that_are_no_more_are_not_waited_for() {
    let world = World::new().await;
    world.put("a", &bytes(LARGE, 1)).await;
    world.carrier.detach(DriveId::new(2)).expect("a drive");
    assert!(world.delete("a").await);
    collect(&world.engine).await;
    assert_eq!(world.check().await.garbage.len(), 1);
    let smaller = world.engine_without(DriveId::new(2)).await;
    collect(&smaller).await;
    assert!(world.check().await.garbage.is_empty());
}

/// The headers of all shards of blobs without a record, and of copies that their record does not name.
async fn strays(world: &World) -> Vec<(DriveId, ShardHeader)> {
    let mut strays = Vec::new();
    for drive in world.carrier.drives() {
        for header in world.carrier.list(drive, None, 10_000).await.expect("a list") {
            let key = blob::key(Home::of(BucketId::new(header.home)), header.id.blob);
            let record = world.kv.get(&key).await.expect("a look");
            let named = record.is_some_and(|record| {
                let location = blob::Blob::decode(&record.value).expect("a blob").location;
                let place = (header.id.index, drive, header.id.copy);
                location.copies.iter().any(|c| (c.index, c.drive, c.copy) == place)
            });
            if !named {
                strays.push((drive, header));
            }
        }
    }
    strays
}

async fn judge_all(world: &World, engine: &Engine) -> Vec<Orphan> {
    let strays = strays(world).await;
    let judge = engine.orphan_judge().await.expect("a judge");
    let mut judged = Vec::new();
    for (drive, header) in strays {
        judged.push(judge.judge(drive, &header).await.expect("judged"));
    }
    judged
}

/// A shard that nobody has committed, of this blob.
async fn lone_shard(world: &World, blob: BlobId) -> ShardId {
    let id = ShardId { blob, index: 0, copy: CopyId::new(blob.sequence) };
    let home = home_of(world).await.bucket().get();
    let (data_shards, parity_shards) = (3, 2);
    let header =
        ShardHeader { id, data_shards, parity_shards, blob_len: 30, payload_len: 10, home };
    let frame = Frame::seal(&id, 0, bytes::Bytes::from_static(b"0123456789"));
    write_shard(world, DriveId::new(1), header, vec![frame]).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_go_when_their_session_has_ended() {
    let world = World::new().await;
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    let session = SessionId::new(99);
    world.kv.open_session(session, "another", UnixMillis(0)).await.expect("opened");
    lone_shard(&world, BlobId { session, sequence: 1 }).await;
    lone_shard(&world, BlobId { session: world.engine.session(), sequence: 1_000_000 }).await;
    lone_shard(&world, BlobId { session: SessionId::new(77), sequence: 1 }).await;
    let kept = [Orphan::Kept; 3];
    assert_eq!(judge_all(&world, &world.engine).await, kept);
    // One that was made before the end knows nothing of it.
    let early = world.engine.orphan_judge().await.expect("a judge");
    world.kv.end_session(session).await.expect("ended");
    for (drive, header) in strays(&world).await {
        assert_eq!(early.judge(drive, &header).await.expect("judged"), Orphan::Kept);
    }
    // After a restore, nothing goes until somebody has said so.
    let set = |orphans| {
        let switch = Switch { v: 1, orphans, reason: "a test".to_owned() };
        let mut batch = Batch::default();
        batch.put(hold::switch_key(), switch.encode());
        batch
    };
    commit(&world, set(Orphans::Off)).await;
    assert_eq!(judge_all(&world, &world.engine).await, kept);
    commit(&world, set(Orphans::On)).await;
    let mut judged = judge_all(&world, &world.engine).await;
    judged.sort_by_key(|orphan| format!("{orphan:?}"));
    assert_eq!(judged, [Orphan::Deleted, Orphan::Kept, Orphan::Kept]);
    assert_eq!(judge_all(&world, &world.engine).await, [Orphan::Kept; 2]);
    // As after a restart: what this process left may go, what nobody knows may not.
    let next = world.second_engine().await;
    world.engine.stop().await;
    assert_eq!(judge_all(&world, &next).await.len(), 2);
    assert_eq!(judge_all(&world, &next).await, [Orphan::Kept]);
    assert_eq!(world.get("a").await, Some(content));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_no_record_names_are_filed_and_raise_its_revision() {
    let world = World::new().await;
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    let (key, record) = the_blob(&world).await;
    let before = world.kv.get(&key).await.expect("a look").expect("a record");
    lone_shard(&world, record.location.id).await;
    let body = open(&world, "a").await;
    assert_eq!(judge_all(&world, &world.engine).await, [Orphan::Filed]);
    let after = world.kv.get(&key).await.expect("a look").expect("a record");
    assert!(after.revision > before.revision && after.value == before.value);
    // Somebody may be reading it, by an old hint.
    collect(&world.engine).await;
    assert_eq!(shards(&world).await, 6);
    assert_eq!(read(body).await, Ok(content.clone()));
    all_is_clean(&world).await;
    assert_eq!(shards(&world).await, 5);
    // Whatever is named is never taken, whoever asks.
    let judge = world.engine.orphan_judge().await.expect("a judge");
    for drive in world.carrier.drives() {
        for header in world.carrier.list(drive, None, 10).await.expect("a list") {
            assert_eq!(judge.judge(drive, &header).await.expect("judged"), Orphan::Named);
        }
    }
    assert_eq!(world.get("a").await, Some(content));
}

/// A world whose commits of one session can be held up.
async fn stalling() -> (World, Arc<tokio::sync::Semaphore>, Arc<AtomicU64>) {
    let (gate, whom) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (waits, stalled) = (gate.clone(), whom.clone());
    let world = World::over(|inner| {
        let hook = Box::new(move |id: BatchId| {
            let (waits, stalled) = (waits.clone(), stalled.load(Ordering::SeqCst));
            async move {
                if id.session.get() == stalled {
                    waits.acquire().await.expect("open").forget();
                }
                Fate::Go
            }
            .boxed()
        });
        Arc::new(Hooked { inner, hook })
    })
    .await;
    (world, gate, whom)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_writer_is_fenced_and_never_acknowledged() {
    let (world, gate, whom) = stalling().await;
    let other = world.second_engine().await;
    whom.store(world.engine.session().get(), Ordering::SeqCst);
    let (engine, proof) = (world.engine.clone(), world.on("a").await);
    let put =
        tokio::spawn(async move { engine.put_object(proof, request(&bytes(LARGE, 1))).await });
    while shards(&world).await < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As long as the session lives, its shards do, too.
    assert_eq!(judge_all(&world, &other).await, [Orphan::Kept; 5]);
    world.kv.end_session(world.engine.session()).await.expect("ended");
    assert_eq!(judge_all(&world, &other).await, [Orphan::Deleted; 5]);
    assert_eq!(shards(&world).await, 0);
    gate.add_permits(1000);
    let result = put.await.expect("no panic");
    assert!(matches!(result, Err(PutError::Failure(Failure::Fenced))), "{result:?}");
    assert_eq!(world.get("a").await, None);
    assert_eq!(world.check().await.blobs, 0);
    // Nor does a collector that was fenced go on.
    assert!(worker(&world.engine, "collect").step().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn void_copies_are_deleted_once_their_drive_answers() {
    let refuse = Arc::new(AtomicU64::new(0));
    let refuses = refuse.clone();
    let world = World::over(|inner| {
        let hook = Box::new(move |_| {
            let refuse = refuses.load(Ordering::SeqCst) > 0;
            async move { if refuse { Fate::Refuse } else { Fate::Go } }.boxed()
        });
        Arc::new(Hooked { inner, hook })
    })
    .await;
    world.put("b", &bytes(LARGE, 2)).await;
    refuse.store(1, Ordering::SeqCst);
    let result = world.try_put("a", request(&bytes(LARGE, 1))).await;
    assert!(result.is_err());
    refuse.store(0, Ordering::SeqCst);
    // Whatever could not be deleted at once is by the collector.
    let mut worker = worker(&world.engine, "collect");
    for _ in 0..200 {
        worker.step().await.expect("a step");
        if shards(&world).await == 5 {
            return all_is_clean(&world).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("void copies are still there");
}

/// The collector may be stopped by any of its commits, done or not: the next one finishes.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_end_anywhere() {
    for fate in [Fate::Refuse, Fate::LoseReply] {
        let (left, counted) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(0)));
        let (hook_left, hook_counted) = (left.clone(), counted.clone());
        let world = World::over(|inner| {
            let hook = Box::new(move |_| {
                hook_counted.fetch_add(1, Ordering::SeqCst);
                let before = hook_left.load(Ordering::SeqCst);
                hook_left
                    .store(before.saturating_sub(u64::from(before < u64::MAX)), Ordering::SeqCst);
                async move { if before == 0 { fate } else { Fate::Go } }.boxed()
            });
            Arc::new(Hooked { inner, hook })
        })
        .await;
        let mut at = 0;
        loop {
            for n in 0..10 {
                world.put(&format!("{n}"), &bytes(10_000, n)).await;
            }
            more_uploads(&world).await;
            for n in 0..10 {
                assert!(world.delete(&format!("{n}")).await);
            }
            assert!(world.delete("one").await);
            left.store(at, Ordering::SeqCst);
            let mut worker = worker(&world.engine, "collect");
            let mut stopped = false;
            for _ in 0..40 {
                match worker.step().await {
                    Ok(Progress::Idle(_)) => break,
                    Ok(Progress::More) => {}
                    Err(_) => {
                        stopped = true;
                        break;
                    }
                }
            }
            let reached = left.load(Ordering::SeqCst) == 0;
            left.store(u64::MAX, Ordering::SeqCst);
            world.check().await;
            drop((worker, stopped));
            all_is_clean(&world).await;
            for (_, id) in uploads_in_progress(&world).await {
                world.abort("open", id).await.expect("aborted");
            }
            all_is_clean(&world).await;
            assert_eq!(shards(&world).await, 0);
            if !reached {
                break;
            }
            at += 1;
        }
        assert!(at >= 8, "only {at} commits");
    }
}

async fn uploads_in_progress(world: &World) -> Vec<(String, types::UploadId)> {
    let keys = world.records().await.into_iter().filter_map(|(k, _)| schema::upload::parse_key(&k));
    keys.map(|(_, key, id)| (key, id)).collect()
}

/// Writers, copiers, deleters and readers on few keys, and the collector all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_runs_beside_everything() {
    let world = Arc::new(World::new().await);
    let stop = Arc::new(AtomicU64::new(0));
    let collector = tokio::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        async move {
            let mut worker = worker(&world.engine, "collect");
            while stop.load(Ordering::SeqCst) == 0 {
                worker.round_asked();
                worker.step().await.expect("a step");
                tokio::task::yield_now().await;
            }
        }
    });
    let mut tasks = Vec::new();
    for seed in 0..6_u64 {
        let world = world.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..25_u64 {
                let dice = (seed * 7919 + round * 104_729) % 1009;
                let (key, other) = (format!("{}", dice % 3), format!("{}", (dice / 3) % 3));
                match dice % 5 {
                    0 | 1 => drop(world.put(&key, &bytes(LARGE, dice)).await),
                    2 => drop(copy(&world, &key, &other).await),
                    3 => drop(world.delete(&key).await),
                    _ => {
                        // Whatever it is, all of it is there.
                        world.get(&key).await;
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    stop.store(1, Ordering::SeqCst);
    collector.await.expect("no panic");
    all_is_clean(&world).await;
    for key in ["0", "1", "2"] {
        world.get(key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_stays_and_holds_nothing_else_up() {
    let world = World::new().await;
    world.put("damaged", &bytes(LARGE, 1)).await;
    let (key, record) = the_blob(&world).await;
    let home = home_of(&world).await;
    let mut batch = Batch::default();
    batch.put(key, vec![0xee]);
    let copies = record.location.copies.clone();
    let garbage = Garbage { copies, ..Garbage::filed(home, UnixMillis(0)) };
    let suffix = Candidate::Copies(record.location.id).suffix();
    batch.write(Write::PutStamped(garbage::prefix(home), suffix.clone(), garbage.encode()));
    let unknown = bytes::Bytes::from(vec![0x77; 17]);
    batch.write(Write::PutStamped(garbage::prefix(home), unknown, garbage.encode()));
    commit(&world, batch).await;
    world.put("whole", &bytes(LARGE, 2)).await;
    assert!(world.delete("damaged").await && world.delete("whole").await);
    collect(&world.engine).await;
    assert_eq!(shards(&world).await, 5, "of the one whose record cannot be read");
}

/// Bytes of the files under a directory, holes included.
fn file_bytes(dir: &std::path::Path) -> u64 {
    let entries =
        std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let bytes = |entry: std::fs::DirEntry| match entry.file_type().expect("a type").is_dir() {
        true => file_bytes(&entry.path()),
        false => entry.metadata().expect("metadata").len(),
    };
    entries.map(bytes).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn mostly_empty_segments_are_given_back() {
    const OBJECTS: u64 = 200;
    let world = World::new().await;
    for drive in (1..=DRIVES).map(DriveId::new) {
        world.carrier.detach(drive).expect("a drive").close().await;
        let options = StoreOptions { segment_bytes: 1 << 20, ..StoreOptions::default() };
        let (disk, dir) = (Arc::new(RealDisk), world.drive_dir(drive));
        let store = Store::open(disk, Runtime::real(), &dir, options).expect("open");
        world.carrier.attach(drive, store);
    }
    for n in 0..OBJECTS {
        world.put(&format!("{n}"), &bytes(60_000, n)).await;
    }
    let on_disk =
        || (1..=DRIVES).map(|n| file_bytes(&world.drive_dir(DriveId::new(n)))).sum::<u64>();
    let full = on_disk();
    for n in (0..OBJECTS).filter(|n| n % 10 > 0) {
        assert!(world.delete(&format!("{n}")).await);
    }
    all_is_clean(&world).await;
    let mut compactor = worker(&world.engine, "compact");
    while let Progress::More = compactor.step().await.expect("a step") {}
    let left = on_disk();
    assert!(left * 2 < full, "{left} of {full} bytes are left");
    for n in (0..OBJECTS).step_by(10) {
        assert_eq!(world.get(&format!("{n}")).await, Some(bytes(60_000, n)));
    }
    all_is_clean(&world).await;
}
