//! What is particular to this engine: restarts, kills, failing writes, full disks, damage.
#![allow(clippy::disallowed_methods, reason = "tests look at real files and start processes")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::Bytes;
use runtime::SimClock;
use runtime::disk::{Entry, File, Lock, Space};
use types::ErrorKind;

use super::*;
use crate::{Direction, Guard, decode_counter};

/// How a write fails on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteFault {
    /// Before anything reached the disk.
    Before,
    /// After all of it did.
    After,
    /// For want of room.
    Full,
    /// By a panic.
    Panic,
}

impl Shared {
    pub(super) fn write(&self, batch: StoreBatch) -> Result<(), KvError> {
        let failed = || KvError::Unavailable("made to fail".to_owned());
        let fault = self.fail_next_write.lock().take();
        match fault {
            None => batch.commit(),
            Some(WriteFault::Before) => Err(failed()),
            Some(WriteFault::After) => batch.commit().and(Err(failed())),
            Some(WriteFault::Full) => Err(KvError::Full("made to fail".to_owned())),
            Some(WriteFault::Panic) => panic!("made to panic"),
        }
    }
}

const SESSION: SessionId = SessionId::new(1);
const DEADLINE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Arc<Lsm> {
    Lsm::open(dir, Runtime::real(), LsmOptions::default()).expect("opens")
}

async fn open_new(dir: &Path) -> Arc<Lsm> {
    let store = open(dir);
    store.open_session(SESSION, "test", UnixMillis(5)).await.expect("a session");
    store
}

fn key(text: &str) -> Key {
    Key::control(text).expect("a path")
}

fn id(sequence: u64) -> BatchId {
    BatchId { session: SESSION, sequence }
}

fn put(text: &str, value: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(text), Bytes::copy_from_slice(value));
    batch
}

fn add(by: i64) -> Batch {
    let mut batch = Batch::default();
    batch.write(Write::Add(key("/counter"), by));
    batch
}

async fn counter(store: &Lsm) -> i64 {
    let found = store.get(&key("/counter")).await.expect("reads");
    found.and_then(|found| decode_counter(&found.value)).unwrap_or(0)
}

async fn commit(store: &Lsm, sequence: u64, batch: Batch) -> Outcome {
    store.commit(id(sequence), batch).await.expect("answers")
}

async fn must(store: &Lsm, sequence: u64, batch: Batch) -> Revision {
    match commit(store, sequence, batch).await {
        Outcome::Committed(revision) => revision,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let dirs = Mutex::new(Vec::new());
    crate::conformance::run(|| async {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        dirs.lock().push(dir);
        store as Arc<dyn Kv>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_new(dir.path()).await;
    let mut last = Revision(0);
    for number in 1..=300u64 {
        last = must(&store, number, put(&format!("/{number}"), &[number as u8; 2000])).await;
    }
    let mut conflicting = put("/1", b"other");
    conflicting.guard(Guard::Absent(key("/1")));
    assert_eq!(commit(&store, 301, conflicting.clone()).await, Outcome::Conflict(0));
    last = last.max(must(&store, 302, add(7)).await);
    store.report_oldest_read(SESSION, Revision(9)).await.expect("is noted");
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.revision().await.expect("answers"), last);
    for number in 1..=300u64 {
        let found = store.get(&key(&format!("/{number}"))).await.expect("reads");
        assert_eq!(found.expect("was acknowledged").value, vec![number as u8; 2000]);
    }
    // Outcomes came along: neither the commit nor the conflict happens anew.
    assert_eq!(commit(&store, 302, add(7)).await, Outcome::Committed(last));
    assert_eq!(counter(&store).await, 7);
    let mut delete = Batch::default();
    delete.write(Write::Delete(key("/1")));
    assert!(must(&store, 303, delete).await > last);
    assert_eq!(commit(&store, 301, conflicting).await, Outcome::Conflict(0));
    let sessions = store.sessions().await.expect("answers");
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].label.as_str(), sessions[0].opened_at), ("test", UnixMillis(5)));
    assert_eq!((sessions[0].oldest_read, sessions[0].ended), (Revision(9), None));
    assert!(matches!(
        store.watch(&key("/"), Revision(3)).await.map(drop),
        Err(KvError::Compacted(_))
    ));
    store.end_all_sessions().await.expect("ends");
    store.close(DEADLINE).await.expect("closes");
    drop(store);

    let store = open(dir.path());
    assert!(store.sessions().await.expect("answers")[0].ended.is_some());
    assert_eq!(commit(&store, 304, add(1)).await, Outcome::Fenced);
    assert_eq!(commit(&store, 302, add(7)).await, Outcome::Committed(last));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_windows_are_dropped_at_an_open_and_nothing_is_doubled() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let id = |session: u64, sequence| BatchId { session: SessionId::new(session), sequence };
    let mut outcomes = Vec::new();
    for session in 1..=5 {
        let opened = store.open_session(SessionId::new(session), "", UnixMillis(0)).await;
        opened.expect("a session");
        outcomes.push(store.commit(id(session, 4), add(1)).await.expect("answers"));
        store.end_session(SessionId::new(session)).await.expect("ends");
    }
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        for session in 1..=5 {
            let again = store.commit(id(session, 4), add(1)).await.expect("answers");
            let kept = session > 3;
            let expected = if kept { outcomes[session as usize - 1] } else { Outcome::Unknown };
            assert_eq!(again, expected, "session {session}");
            let later = store.commit(id(session, 5), add(1)).await.expect("answers");
            assert_eq!(later, Outcome::Fenced);
        }
        assert_eq!(counter(&store).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_behind_the_window_has_no_second_effect() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_new(dir.path()).await;
    must(&store, 1, add(1)).await;
    must(&store, 1 + engine::WINDOW_SLOTS, add(1)).await;
    assert_eq!(commit(&store, 1, add(1)).await, Outcome::Unknown);
    must(&store, 2, add(1)).await;
    assert_eq!(counter(&store).await, 3);
    drop(store);
    let store = open(dir.path());
    assert_eq!(commit(&store, 1, add(1)).await, Outcome::Unknown);
    assert_eq!(counter(&store).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_stop_its_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_new(dir.path()).await;
    for sequence in 1..=50 {
        let call = store.commit(id(sequence), add(1));
        // Polled once, then dropped.
        let _ = futures::future::select(call, std::future::ready(())).await;
        must(&store, sequence, add(1)).await;
    }
    assert_eq!(counter(&store).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_open_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_new(dir.path()).await;
    let refused = Lsm::open(dir.path(), Runtime::real(), LsmOptions::default()).err();
    let Some(KvError::Unavailable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("in use by another process"), "{why}");
    must(&store, 1, add(1)).await;
    // Also with a snapshot still held by somebody.
    let reader = store.snapshot().await.expect("a snapshot");
    store.close(DEADLINE).await.expect("closes");
    assert!(matches!(reader.get(&key("/counter")).await, Err(KvError::SnapshotExpired)));
    let store = open(dir.path());
    assert_eq!(counter(&store).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nobody_is_told_more_than_is_known() {
    for fault in [WriteFault::Before, WriteFault::After, WriteFault::Full] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open_new(dir.path()).await;
        must(&store, 1, add(1)).await;
        *store.shared.fail_next_write.lock() = Some(fault);
        assert_eq!(commit(&store, 2, add(1)).await, Outcome::Unknown);
        assert_eq!(counter(&store).await, 1, "what may be lost is not seen");
        let kind = match fault {
            WriteFault::Full => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        for _ in 0..2 {
            let refused = store.commit(id(3), add(1)).await.expect_err("read-only");
            assert_eq!(refused.kind(), kind);
            assert_eq!(commit(&store, 2, add(1)).await, Outcome::Unknown);
            assert!(matches!(commit(&store, 1, add(1)).await, Outcome::Committed(_)));
        }
        assert!(store.end_session(SESSION).await.is_err());
        drop(store);
        let store = open(dir.path());
        let expected = if matches!(fault, WriteFault::After) { 2 } else { 1 };
        assert_eq!(counter(&store).await, expected);
        must(&store, 2, add(1)).await;
        must(&store, 3, add(1)).await;
        assert_eq!(counter(&store).await, 3, "repeated after the restart, it counts once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_commit_thread_hangs_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_new(dir.path()).await;
    *store.shared.fail_next_write.lock() = Some(WriteFault::Panic);
    assert_eq!(commit(&store, 1, add(1)).await, Outcome::Unknown);
    let later = store.commit(id(2), add(1)).await;
    assert!(matches!(later, Ok(Outcome::Unknown) | Err(KvError::Unavailable(_))), "{later:?}");
    let again = store.commit(id(1), add(1)).await;
    assert!(matches!(again, Ok(Outcome::Unknown)), "{again:?}");
    store.close(DEADLINE).await.expect("closes");
}

/// A disk that reports as much room as told.
struct SmallDisk {
    available: AtomicU64,
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn File>> {
        RealDisk.create(path)
    }
    fn open(&self, path: &Path, writable: bool) -> std::io::Result<Box<dyn File>> {
        RealDisk.open(path, writable)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn remove_dir(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<Entry>> {
        RealDisk.list(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn space(&self, _: &Path) -> std::io::Result<Space> {
        Ok(Space { total: 1 << 40, available: self.available.load(Ordering::Relaxed) })
    }
    fn lock(&self, path: &Path) -> std::io::Result<Box<dyn Lock>> {
        RealDisk.lock(path)
    }
    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        RealDisk.exists(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_takes_only_what_removes_something() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(SmallDisk { available: AtomicU64::new(1 << 40) });
    let options = LsmOptions { reserve_bytes: 4000, ..LsmOptions::default() };
    let store = Lsm::open_on(disk.clone(), dir.path(), Runtime::real(), options).expect("opens");
    store.open_session(SESSION, "", UnixMillis(0)).await.expect("a session");
    let mut delete = Batch::default();
    delete.write(Write::Delete(key("/a"))).write(Write::Add(key("/counter"), 1));
    let first = must(&store, 1, put("/a", b"1")).await;
    disk.available.store(3999, Ordering::Relaxed);
    assert!(matches!(store.commit(id(2), put("/b", b"1")).await, Err(KvError::Full(_))));
    must(&store, 3, delete.clone()).await;
    disk.available.store(999, Ordering::Relaxed);
    assert!(matches!(store.commit(id(4), delete.clone()).await, Err(KvError::Full(_))));
    assert_eq!(commit(&store, 1, put("/a", b"1")).await, Outcome::Committed(first));
    assert_eq!(counter(&store).await, 1);
    disk.available.store(1 << 40, Ordering::Relaxed);
    must(&store, 2, put("/b", b"1")).await;
    must(&store, 4, delete).await;
    disk.available.store(0, Ordering::Relaxed);
    store.end_session(SESSION).await.expect("sessions still end");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_expire() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(SimClock::default());
    let runtime = Runtime { clock: clock.clone(), ..Runtime::simulated(1) };
    let options = LsmOptions::default();
    let store = Lsm::open(dir.path(), runtime, options.clone()).expect("opens");
    store.open_session(SESSION, "", UnixMillis(0)).await.expect("a session");
    must(&store, 1, add(1)).await;
    let reader = store.snapshot().await.expect("a snapshot");
    clock.advance(options.snapshot_life - Duration::from_millis(1));
    assert!(reader.get(&key("/counter")).await.expect("lives").is_some());
    clock.advance(Duration::from_millis(1));
    assert!(matches!(reader.get(&key("/counter")).await, Err(KvError::SnapshotExpired)));
    let whole = KeyRange::prefix(&key("/"));
    assert!(matches!(
        reader.scan(&whole, 1, Direction::Forward).await,
        Err(KvError::SnapshotExpired)
    ));
}

/// Flushes and compactions move the library's visible sequence number; readers must not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_stay_whole_while_memtables_are_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = LsmOptions { memtable_bytes: 64 << 10, ..LsmOptions::default() };
    let store = Lsm::open(dir.path(), Runtime::real(), options).expect("opens");
    store.open_session(SESSION, "", UnixMillis(0)).await.expect("a session");
    let keys: Arc<Vec<Key>> = Arc::new((0..40).map(|n| key(&format!("/whole/{n}"))).collect());
    let whole = |round: u64| {
        let mut batch = Batch::default();
        for key in keys.iter() {
            let mut value = vec![0; 1000];
            value[..8].copy_from_slice(&round.to_be_bytes());
            batch.put(key.clone(), value);
        }
        batch
    };
    must(&store, 1, whole(0)).await;
    let done = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, keys, done) = (store.clone(), keys.clone(), done.clone());
            tokio::spawn(async move {
                while done.load(Ordering::Relaxed) == 0 {
                    let found = store.multi_get(&keys).await.expect("reads");
                    assert!(found.iter().all(|one| one == &found[0]), "half a batch");
                    let page = store.scan(&KeyRange::prefix(&keys[0]), 1, Direction::Forward).await;
                    assert_eq!(page.expect("reads").entries.len(), 1);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 1..400 {
        must(&store, 1 + round, whole(round)).await;
    }
    done.store(1, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("no reader saw half a batch");
    }
}

fn fjall_meta(dir: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let database = fjall::Database::builder(dir.join("fjall")).open().expect("opens");
    let meta = database.keyspace("meta", fjall::KeyspaceCreateOptions::default).expect("opens");
    change(&meta);
    database.persist(fjall::PersistMode::SyncAll).expect("syncs");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_other_formats_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open_new(dir.path()).await);
    let refused = || match Lsm::open(dir.path(), Runtime::real(), LsmOptions::default()) {
        Err(KvError::Corrupt(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("opened"),
    };
    fjall_meta(dir.path(), |meta| meta.insert("format", *b"UCKV\0\0\0\x02").expect("writes"));
    assert!(refused().contains("newer program"));
    fjall_meta(dir.path(), |meta| meta.insert("format", *b"whatever").expect("writes"));
    refused();
    fjall_meta(dir.path(), |meta| meta.insert("format", record::FORMAT).expect("writes"));
    fjall_meta(dir.path(), |meta| meta.insert("revision", *b"short").expect("writes"));
    refused();
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Every file of a closed store, damaged in the middle: never a wrong value, never a panic.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_give_errors_and_no_wrong_values() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = LsmOptions { memtable_bytes: 64 << 10, ..LsmOptions::default() };
    let store = Lsm::open(dir.path(), Runtime::real(), options.clone()).expect("opens");
    store.open_session(SESSION, "", UnixMillis(0)).await.expect("a session");
    for number in 1..=200u64 {
        must(&store, number, put(&format!("/{number:04}"), &[number as u8; 1000])).await;
    }
    drop(store);
    let mut all = Vec::new();
    files(&dir.path().join("fjall"), &mut all);
    let (mut refused, mut read) = (0, 0);
    for path in all {
        let good = std::fs::read(&path).expect("reads");
        let used = good.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if used == 0 || path.ends_with("lock") {
            continue;
        }
        for at in [0, used / 2, used] {
            let copy = tempfile::tempdir().expect("a directory");
            let mut copying = Command::new("cp");
            copying.arg("-r").arg(dir.path().join("fjall")).arg(copy.path());
            assert!(copying.status().expect("copies").success());
            let inside = path.strip_prefix(dir.path()).expect("is inside");
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(copy.path().join(inside), bad).expect("writes");
            let Ok(store) = Lsm::open(copy.path(), Runtime::real(), options.clone()) else {
                refused += 1;
                continue;
            };
            for number in 1..=200u64 {
                match store.get(&key(&format!("/{number:04}"))).await {
                    Ok(Some(found)) => assert_eq!(found.value, vec![number as u8; 1000]),
                    Ok(None) => {
                        // The last batch alone cannot be told from one that was torn before its sync.
                        let is_journal = path.extension().is_some_and(|ext| ext == "jnl");
                        assert!(is_journal && number == 200, "{number} of {inside:?}");
                    }
                    Err(_) => read += 1,
                }
            }
        }
    }
    assert!(refused > 0 && read > 0, "{refused} opens and {read} reads were refused");
}

const CHILD_DIR: &str = "KV_TEST_CHILD_DIR";

/// Not a test of its own: what [`kill_nine`] runs in a process that it then kills.
#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let options = LsmOptions { memtable_bytes: 256 << 10, ..LsmOptions::default() };
    let store = Lsm::open(Path::new(&dir), Runtime::real(), options).expect("opens");
    store.end_all_sessions().await.expect("ends");
    let session = SessionId::new(
        u64::from(std::process::id()) << 32 | store.revision().await.expect("answers").0,
    );
    store.open_session(session, "child", UnixMillis(0)).await.expect("a session");
    let writers: Vec<_> = (0..8u64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let sequence = 1 + writer + 8 * number;
                    let name = format!("/kill/{session}/{sequence}");
                    let mut batch = put(&name, &vec![sequence as u8; 2000]);
                    batch.write(Write::Add(key("/counter"), 1));
                    let outcome = store.commit(BatchId { session, sequence }, batch).await;
                    let Ok(Outcome::Committed(revision)) = outcome else { panic!("{outcome:?}") };
                    println!("acked {revision} {sequence} {name}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("writes until it is killed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acked: Vec<(u64, u64, String)> = Vec::new();
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "lsm::tests::kill_nine_child", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The first line shares its own with the test harness's.
            let Some((_, rest)) = line.split_once("acked ") else { continue };
            let mut words = rest.split(' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (Some(revision), Some(sequence)) = (number(), number()) else { continue };
            let Some(name) = words.next() else { continue };
            acked.push((revision, sequence, name.to_owned()));
            seen += 1;
            if seen == 150 + 40 * round {
                child.kill().expect("kills");
            }
        }
        assert!(seen >= 150, "the child ended by itself");
        child.wait().expect("ends");
        let store = open(dir.path());
        let newest = store.revision().await.expect("answers").0;
        // The last line may have been cut off in the middle: then its name is of nothing.
        let (whole, cut) = acked.split_at(acked.len() - 1);
        for (revision, sequence, name) in whole {
            let found = store.get(&key(name)).await.expect("reads").expect("was acknowledged");
            assert_eq!(found.revision.0, *revision);
            assert_eq!(found.value, vec![*sequence as u8; 2000]);
            assert!(*revision <= newest);
        }
        if store.get(&key(&cut[0].2)).await.expect("reads").is_none() {
            acked.pop();
        }
        let mut written = 0;
        let reader = store.snapshot().await.expect("a snapshot");
        let count = &mut |_: &[u8], _: &[u8], _| {
            written += 1;
            crate::Step::Next
        };
        reader.visit(&KeyRange::prefix(&key("/kill/")), count).await.expect("reads");
        assert_eq!(counter(&store).await, written, "batches are whole");
        assert!(written >= acked.len() as i64);
        store.close(DEADLINE).await.expect("closes");
    }
}
