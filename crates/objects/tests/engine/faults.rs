//! Lost replies, drives that are away, damage, and what is filed about it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use kv::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};
use objects::*;
use parking_lot::Mutex;
use types::{BatchId, DriveId, Revision, SessionId, UnixMillis};

use crate::support::*;

/// What happens to commits.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    /// Nothing.
    Good = 0,
    /// The first reply of each is lost, after it was done.
    LosesReplies = 1,
    /// All replies are lost, after the first was done.
    NeverReplies = 2,
    /// All are lost before they are done.
    NeverDoes = 3,
    /// The reply of the first is lost, and repeating it is refused.
    RefusesRepeats = 4,
    /// All are refused.
    Refuses = 5,
}

/// A store whose commits go wrong.
struct Moody {
    inner: Arc<dyn Kv>,
    mood: AtomicU8,
    seen: Mutex<HashSet<BatchId>>,
}

impl Moody {
    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Kv for Moody {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize, way: Direction) -> Result<Page, KvError> {
        self.inner.scan(range, limit, way).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        let refused = || Err(KvError::Unavailable("refused".to_owned()));
        let mood = self.mood.load(Ordering::SeqCst);
        let first = self.seen.lock().insert(id);
        let is = |other: Mood| mood == other as u8;
        if is(Mood::Refuses) || (is(Mood::RefusesRepeats) && !first) {
            return refused();
        }
        if is(Mood::NeverDoes) {
            return Ok(Outcome::Unknown);
        }
        let outcome = self.inner.commit(id, batch).await?;
        let lost = is(Mood::NeverReplies) || (first && !is(Mood::Good));
        Ok(if lost { Outcome::Unknown } else { outcome })
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        self.inner.watch(prefix, after).await
    }

    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        self.inner.open_session(id, label, now).await
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.inner.sessions().await
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.inner.close(deadline).await
    }
}

async fn moody() -> (World, Arc<Moody>) {
    let mut made = None;
    let world = World::over(|inner| {
        let moody =
            Arc::new(Moody { inner, mood: AtomicU8::new(0), seen: Mutex::new(HashSet::new()) });
        made = Some(moody.clone());
        moody
    })
    .await;
    (world, made.expect("made"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_double_nothing() {
    let (world, store) = moody().await;
    store.set(Mood::LosesReplies);
    world.create_bucket("second").await;
    for len in [SMALL, LARGE, LARGE, SMALL] {
        let content = bytes(len, len as u64);
        let conditions =
            WriteConditions { if_match: None, if_none_match: Some(EtagCondition::Any) };
        let request = PutRequest { conditions, ..request(&content) };
        world.try_put("a", request).await.expect("its own success is no conflict");
        assert_eq!(world.get("a").await, Some(content));
        crate::copies::copy(&world, "a", "b").await.expect("a copy");
        assert!(world.delete("a").await);
        world.check().await;
    }
    let upload = world.begin("a").await;
    let part = world.part("a", upload, 1, &bytes(LARGE, 1)).await.etag;
    world.complete("a", upload, &[(1, &part)]).await.expect("made");
    let upload = world.begin("a").await;
    world.abort("a", upload).await.expect("aborted");
    assert_eq!(world.check().await.objects, 2);
    let results = {
        let (a, b) = (world.on("a").await, world.on("b").await);
        world.engine.delete_objects(vec![a, b]).await
    };
    assert!(results.into_iter().all(|result| matches!(result, Ok(true))));
    assert_eq!(world.check().await.objects, 0);
    world.engine.delete_bucket(world.on_bucket("first").await).await.expect("removed");
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_said_and_nothing_is_deleted() {
    let (world, store) = moody().await;
    for (round, mood) in [Mood::NeverReplies, Mood::RefusesRepeats].into_iter().enumerate() {
        for len in [SMALL, LARGE] {
            let content = bytes(len, round as u64);
            store.set(mood);
            let result = world.try_put("a", request(&content)).await;
            assert!(matches!(result, Err(PutError::Failure(Failure::Unknown))), "{result:?}");
            store.set(Mood::Good);
            // It did happen, and is whole.
            assert_eq!(world.get("a").await, Some(content));
            world.check().await;
        }
    }
    store.set(Mood::NeverDoes);
    let result = world.try_put("a", request(&bytes(LARGE, 77))).await;
    assert!(matches!(result, Err(PutError::Failure(Failure::Unknown))));
    store.set(Mood::Good);
    assert_eq!(world.get("a").await, Some(bytes(LARGE, 1)));
    // Its shards are still there: only the end of the session proves that they are garbage.
    let shards: u64 =
        world.engine.drive_statuses().await.iter().map(|(_, status)| status.shards).sum();
    assert_eq!(shards, 15);
    assert_eq!(world.engine.metrics_snapshot().unknown_outcomes, 5);
    assert_eq!(world.check().await.blobs, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_leaves_nothing() {
    let (world, store) = moody().await;
    store.set(Mood::Refuses);
    let result = world.try_put("a", request(&bytes(LARGE, 1))).await;
    assert!(matches!(result, Err(PutError::Failure(Failure::Kv(KvError::Unavailable(_))))));
    let deleted = world.engine.delete_objects(vec![world.on("a").await]).await;
    assert!(matches!(deleted[..], [Ok(false)]));
    store.set(Mood::Good);
    assert_eq!(world.get("a").await, None);
    crate::objects::no_shards_are_left(&world).await;
    world.put("a", b"x").await;
    store.set(Mood::Refuses);
    let proofs = vec![world.on("a").await, world.on("b").await];
    let deleted = world.engine.delete_objects(proofs).await;
    assert!(deleted.iter().all(|result| matches!(result, Err(Failure::Kv(_)))));
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_given_up_leaves_nothing() {
    let world = World::new().await;
    let (send, receive) = futures::channel::mpsc::unbounded();
    send.unbounded_send(Ok(bytes::Bytes::from(bytes(LARGE, 1)))).expect("sent");
    let request = PutRequest { len: LARGE as u64 + 1, body: Box::pin(receive), ..request(b"") };
    let (engine, proof) = (world.engine.clone(), world.on("a").await);
    let put = tokio::spawn(async move { engine.put_object(proof, request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    put.abort();
    assert!(put.await.expect_err("aborted").is_cancelled());
    drop(send);
    assert_eq!(world.get("a").await, None);
    crate::objects::no_shards_are_left(&world).await;
    assert_eq!(world.check().await.blobs, 0);
    crate::collect::ends_clean(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn degraded_writes_file_their_repair() {
    let world = World::new().await;
    let away = world.carrier.detach(DriveId::new(3)).expect("a drive");
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    assert_eq!(world.get("a").await, Some(content.clone()));
    let census = world.check().await;
    let [(margin, _)] = census.repairs[..] else { panic!("{:?}", census.repairs) };
    assert!(margin >= 1, "one more may be lost");
    let metrics = world.engine.metrics_snapshot();
    assert_eq!((metrics.degraded_writes, metrics.repair_tasks), (1, 1));
    world.carrier.attach(DriveId::new(3), away);
    // Too few drives: nothing is promised, nothing is visible.
    for drive in [1, 2, 4, 5] {
        world.carrier.detach(DriveId::new(drive));
    }
    let refused = world.try_put("b", request(&content)).await;
    assert!(
        matches!(refused, Err(PutError::Failure(Failure::Store(StoreError::TooFewDrives)))),
        "{refused:?}"
    );
    assert_eq!(world.get("b").await, None);
    // Small objects are in the metadata and need no drive.
    world.put("c", b"small").await;
    let unreadable = world.engine.get_object(world.on("a").await, GetRequest::default()).await;
    assert!(matches!(unreadable, Err(GetError::Failure(Failure::Read(ReadError::Unavailable)))));
    run_workers(&world).await;
    assert!(world.engine.metrics_snapshot().under_replicated >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_missed_shards_files_their_repair() {
    let world = World::new().await;
    let content = bytes(LARGE, 1);
    world.put("a", &content).await;
    // A whole read wants the data shards, and 0 and 1 are of them.
    let (_, record) = crate::collect::the_blob(&world).await;
    let of_these = record.location.copies.iter().filter(|copy| copy.index < 2);
    let gone: Vec<_> =
        of_these.map(|copy| world.carrier.detach(copy.drive).expect("a drive")).collect();
    for _ in 0..3 {
        assert_eq!(world.get("a").await, Some(content.clone()));
    }
    assert!(world.check().await.repairs.is_empty(), "reads do not wait for it");
    run_workers(&world).await;
    let metrics = world.engine.metrics_snapshot();
    assert!(metrics.degraded_reads >= 1, "{metrics:?}");
    let census = world.check().await;
    assert_eq!((census.repairs.len() as u64, metrics.repair_tasks), (1, 1));
    assert_eq!((metrics.under_replicated, metrics.objects), (1, census.objects as u64));
    // Found again, it is not filed again so soon.
    assert_eq!(world.get("a").await, Some(content));
    run_workers(&world).await;
    assert_eq!(world.check().await.repairs.len(), 1);
    drop(gone);
}

/// One step of each worker.
async fn run_workers(world: &World) {
    for mut worker in world.engine.workers() {
        worker.step().await.expect("a step");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_open_read_is_reported() {
    let world = World::new().await;
    let content = bytes(2 << 20, 1);
    world.put("a", &content).await;
    let oldest = async || {
        run_workers(&world).await;
        let sessions = world.kv.sessions().await.expect("sessions");
        let ours = sessions.into_iter().find(|s| s.id == world.engine.session());
        ours.expect("a session").oldest_read
    };
    let before = oldest().await;
    let found =
        world.engine.get_object(world.on("a").await, GetRequest::default()).await.expect("found");
    for _ in 0..3 {
        world.put("a", b"new").await;
    }
    let while_open = oldest().await;
    assert!(while_open <= world.kv.revision().await.expect("a revision"));
    let garbage = {
        let mut filed = None;
        let first = Key::data(types::Token(0), &[]).expect("a key");
        let last = Key::data(types::Token(u32::MAX), &[]).expect("a key").prefix_end();
        let range = KeyRange::new(first, last).expect("a range");
        let mut visit = |key: &[u8], _: &[u8], _| {
            filed = filed.or(schema::garbage::parse_key(key).map(|(revision, _)| revision));
            kv::Step::Next
        };
        let reader = world.kv.snapshot().await.expect("a snapshot");
        reader.visit(&range, &mut visit).await.expect("a visit");
        filed.expect("the replaced blob was filed")
    };
    assert!(before <= while_open && while_open < garbage, "the open read holds it back");
    assert_eq!(read(found.body).await.expect("the old body"), content);
    assert!(oldest().await > garbage || oldest().await == garbage);
    world.put("b", b"x").await;
    assert!(oldest().await > garbage);
    crate::collect::ends_clean(&world).await;
}
