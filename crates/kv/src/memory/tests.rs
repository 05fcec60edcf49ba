//! What is particular to this engine: it is opened again with its content, and it is cheap.

use std::ops::ControlFlow;

use runtime::SimClock;

use super::*;
use crate::Guard;

const SESSION: SessionId = SessionId::new(1);

fn key(text: &str) -> Key {
    Key::control(text).expect("a path")
}

fn put(text: &str) -> Batch {
    let mut batch = Batch::default();
    batch.guard(Guard::Absent(key(text))).put(key(text), text.as_bytes().to_vec());
    batch
}

async fn commit(store: &Memory, sequence: u64, text: &str) -> Outcome {
    let id = BatchId { session: SESSION, sequence };
    store.commit(id, put(text)).await.expect("answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    crate::conformance::run(|| async { Memory::new() as Arc<dyn Kv> }).await;
}

#[tokio::test]
async fn opened_again_it_has_its_content_and_nothing_of_the_process() {
    let store = Memory::new();
    store.open_session(SESSION, "test", UnixMillis(1)).await.expect("a session");
    let first = commit(&store, 1, "/a").await;
    let snapshot = store.snapshot().await.expect("a snapshot");
    let mut watcher = store.watch(&key("/"), Revision(0)).await.expect("watches");
    assert!(matches!(watcher.next().await, Ok(ControlFlow::Continue(_))));
    store.close(Duration::ZERO).await.expect("closes");
    let refused = store.commit(BatchId { session: SESSION, sequence: 2 }, put("/b")).await;
    assert!(matches!(refused, Err(KvError::Unavailable(_))), "{refused:?}");
    assert_eq!(commit(&store, 1, "/a").await, first);

    store.reopen();
    assert!(matches!(snapshot.get(&key("/a")).await, Err(KvError::SnapshotExpired)));
    assert!(matches!(watcher.next().await, Ok(ControlFlow::Break(()))));
    let early = store.watch(&key("/"), Revision(0)).await.map(drop);
    assert!(matches!(early, Err(KvError::Compacted(_))));
    assert!(store.get(&key("/a")).await.expect("answers").is_some());
    assert_eq!(commit(&store, 1, "/a").await, first, "its outcome is remembered");
    assert_eq!(commit(&store, 2, "/a").await, Outcome::Conflict(0));
    store.end_all_sessions().await.expect("ends");
    assert_eq!(commit(&store, 3, "/c").await, Outcome::Fenced);
    assert_eq!(commit(&store, 2, "/a").await, Outcome::Conflict(0));
    assert!(store.sessions().await.expect("answers")[0].ended.is_some());
    drop(snapshot);
}

#[tokio::test]
async fn snapshots_expire_on_the_clock_handed_in() {
    let clock = Arc::new(SimClock::default());
    let store = Memory::with_clock(clock.clone(), Duration::from_secs(300));
    let snapshot = store.snapshot().await.expect("a snapshot");
    clock.advance(Duration::from_secs(299));
    assert!(matches!(snapshot.get(&key("/a")).await, Ok(None)));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(snapshot.get(&key("/a")).await, Err(KvError::SnapshotExpired)));
}

#[tokio::test]
async fn watchers_end_with_the_store() {
    let store = Memory::new();
    let mut watcher = store.watch(&key("/"), Revision(0)).await.expect("watches");
    drop(store);
    assert!(matches!(watcher.next().await, Ok(ControlFlow::Break(()))));
}
