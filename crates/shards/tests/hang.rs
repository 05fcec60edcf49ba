//! A disk that hangs: what is queued for it must not cost anybody else anything.

mod common;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::*;
use parking_lot::{Condvar, Mutex};
use runtime::disk::{Disk, Entry, File, Lock, SimDisk, Space};
use runtime::{Runtime, SimClock, SimEntropy};
use shards::{DriveState, Frame, OpenError, ShardError, ShardHeader, Store};

/// Lets writes, syncs and reads of files through, or not.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    reads: AtomicU64,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    waiting: usize,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.is_shut {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }

    fn set_shut(&self, is_shut: bool) {
        self.state.lock().is_shut = is_shut;
        self.changed.notify_all();
    }

    /// Returns when so many calls hang.
    fn wait_for(&self, calls: usize) {
        let mut state = self.state.lock();
        while state.waiting < calls {
            self.changed.wait(&mut state);
        }
    }
}

#[derive(Clone)]
struct Hanging(SimDisk, Arc<Gate>);

struct HangingFile(Box<dyn File>, Arc<Gate>);

impl Disk for Hanging {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(HangingFile(self.0.create(path)?, self.1.clone())))
    }
    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(HangingFile(self.0.open(path, writable)?, self.1.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.1.pass();
        self.0.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
}

impl File for HangingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.pass();
        self.1.reads.fetch_add(1, Ordering::SeqCst);
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.1.pass();
        self.0.write_at(buffers, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
    fn set_direct(&self, on: bool) -> io::Result<bool> {
        self.0.set_direct(on)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch_hole(offset, len)
    }
}

fn store() -> (Arc<Store>, Arc<Gate>) {
    let (store, gate, _, _) = timed_store();
    (store, gate)
}

fn timed_store() -> (Arc<Store>, Arc<Gate>, SimDisk, Arc<SimClock>) {
    let (gate, clock) = (Arc::new(Gate::default()), Arc::new(SimClock::default()));
    let sim = sim_drive(64 << 20, 1);
    let disk = Arc::new(Hanging(sim.clone(), gate.clone()));
    let runtime = Runtime { clock: clock.clone(), entropy: Arc::new(SimEntropy::new(1)) };
    let opened = Store::open(disk, runtime, Path::new(DIR), options());
    (opened.expect("opened"), gate, sim, clock)
}

/// Memory whose owner can be watched.
struct Held(Vec<u8>, #[allow(dead_code, reason = "it is counted")] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

async fn put_held(store: &Store, header: ShardHeader, held: Arc<()>) -> Result<(), ShardError> {
    let mut sink = store.create(header)?;
    let bytes = Bytes::from_owner(Held(vec![7; header.payload_len as usize], held));
    sink.write(vec![Frame::seal(&header.id, 0, bytes)]).await?;
    sink.commit().await
}

/// Polls once, and gives up.
async fn give_up<T>(future: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = future => panic!("the disk hangs"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_that_were_given_up_do_not_keep_their_memory() {
    let (store, gate) = store();
    gate.set_shut(true);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { put(&store, &shard(1, 1, 1000)).await }
    });
    gate.wait_for(1);
    let held = Arc::new(());
    for sequence in 10..200 {
        give_up(put_held(&store, shard(1, sequence, 50_000), held.clone())).await;
        assert_eq!(Arc::strong_count(&held), 1, "shard {sequence} is still in memory");
    }
    gate.set_shut(false);
    assert_eq!(hanging.await.expect("no panic"), Ok(()));
    put(&store, &shard(1, 2, 3000)).await.expect("the disk is back");
    assert_eq!(list_all(&store, 100).await, [shard(1, 1, 1000), shard(1, 2, 3000)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_were_given_up_are_not_done() {
    let (store, gate) = store();
    let header = shard(1, 1, 3000);
    put(&store, &header).await.expect("committed");
    store.counted().await;
    gate.set_shut(true);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { store.read(header.id, 0, 1).await }
    });
    gate.wait_for(1);
    for _ in 0..3000 {
        give_up(store.read(header.id, 0, 1)).await;
    }
    let before = gate.reads.load(Ordering::SeqCst);
    gate.set_shut(false);
    assert_eq!(hanging.await.expect("no panic").as_deref(), Ok(&frames(&header)[..]));
    assert_whole(&store, &header).await;
    let reads = gate.reads.load(Ordering::SeqCst) - before;
    assert!(reads < 20, "{reads} reads for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_told_while_the_file_system_hangs() {
    let (store, gate, _, clock) = timed_store();
    store.counted().await;
    gate.set_shut(true);
    clock.advance(Duration::from_secs(1));
    let before = store.status();
    gate.wait_for(1);
    for _ in 0..100 {
        clock.advance(Duration::from_secs(1));
        assert_eq!(store.status(), before);
        assert!(store.create(shard(1, 1, 3000)).is_ok() && !store.is_lost());
    }
    gate.set_shut(false);
    assert_eq!(store.status().state, DriveState::Up);
    put(&store, &shard(1, 2, 3000)).await.expect("the disk is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_gives_up_and_the_lock_is_kept_until_the_disk_answers() {
    let (store, gate, sim, clock) = timed_store();
    let header = shard(1, 1, 1000);
    gate.set_shut(true);
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { put(&store, &header).await }
    });
    gate.wait_for(1);
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    while !closing.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(store.status().state, DriveState::Away);
    assert!(matches!(open(&sim, 2), Err(OpenError::Locked { .. })));
    drop(store);
    assert!(matches!(open(&sim, 2), Err(OpenError::Locked { .. })));
    gate.set_shut(false);
    assert_eq!(hanging.await.expect("no panic"), Ok(()));
    let store = loop {
        match open(&sim, 2) {
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            opened => break opened.expect("opened"),
        }
    };
    assert_whole(&store, &header).await;
}

/// A delete that finds nothing is the last word, also while a commit hangs, and when nobody waits for that any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_shard_that_was_deleted_while_it_was_committed_does_not_appear() {
    for is_given_up in [false, true] {
        let (store, gate, sim, _) = timed_store();
        let header = shard(1, 1, 2_000_000);
        let mut sink = store.create(header).expect("begun");
        for chunk in frames(&header).chunks(5) {
            sink.write(chunk.to_vec()).await.expect("accepted");
        }
        gate.set_shut(true);
        let committing = tokio::spawn(sink.commit());
        gate.wait_for(1);
        if is_given_up {
            committing.abort();
        }
        assert_eq!(store.delete(header.id).await, Ok(false));
        gate.set_shut(false);
        if !is_given_up {
            let outcome = committing.await.expect("no panic");
            assert_eq!(outcome, Err(ShardError::NotFound(header.id)));
        }
        store.close().await;
        drop(store);
        let store = open(&sim, 2).expect("opened");
        assert_eq!(list_all(&store, 10).await, []);
        assert!(sim.list(Path::new("/drive/temp")).expect("listed").is_empty());
        put(&store, &header).await.expect("it can be written again");
    }
}
