//! Directories and files that somebody removes, renames or replaces under a running store: nothing is acknowledged
//! into the void, and a drive that is gone is away.

mod common;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use runtime::disk::{Disk, RealDisk, SimDisk};
use runtime::{Runtime, SimClock, SimEntropy};
use shards::{DriveState, Presence, ShardError, ShardHeader, Store, StoreOptions};

fn away<T>() -> Result<T, ShardError> {
    Err(ShardError::Away(identity().drive))
}

fn open_with_clock(disk: &SimDisk) -> (Arc<Store>, Arc<SimClock>) {
    let clock = Arc::new(SimClock::default());
    let runtime = Runtime { clock: clock.clone(), entropy: Arc::new(SimEntropy::new(1)) };
    let store = Store::open(Arc::new(disk.clone()), runtime, Path::new(DIR), options());
    (store.expect("opened"), clock)
}

fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
    let entries = disk.list(Path::new(dir)).expect("listed");
    entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test]
async fn a_write_into_a_drive_that_is_gone_is_not_acknowledged() {
    for (old, new) in [(4000, 4000), (4000, 2_000_000), (2_000_000, 4000), (2_000_000, 2_000_000)] {
        for is_replaced in [false, true] {
            let disk = sim_drive(64 << 20, 1);
            let store = open(&disk, 1).expect("opened");
            put(&store, &shard(1, 1, old)).await.expect("committed");
            assert!(!store.is_lost());
            disk.wipe(Path::new(DIR));
            if is_replaced {
                let new = Arc::new(disk.clone());
                Store::format(new.clone(), Path::new(DIR), &identity()).expect("formatted");
                let other = open(&disk, 2).expect("another store");
                put(&other, &shard(1, 3, old)).await.expect("committed");
                other.close().await;
            }
            assert_eq!(put(&store, &shard(1, 2, new)).await, away(), "{old} {new} {is_replaced}");
            assert!(store.is_lost());
            assert_eq!(store.status().state, DriveState::Away);
            assert_eq!(store.read(shard(1, 1, old).id, 0, 1).await, away());
            assert_eq!(store.presence(vec![shard(1, 1, old).id]).await, away());
            store.close().await;
            if is_replaced {
                let other = open(&disk, 2).expect("another store");
                assert_eq!(list_all(&other, 10).await, [shard(1, 3, old)]);
            }
        }
    }
}

#[tokio::test]
async fn a_drive_that_only_serves_reads_is_found_to_be_gone() {
    let disk = sim_drive(64 << 20, 1);
    let (store, clock) = open_with_clock(&disk);
    let header = shard(1, 1, 4000);
    put(&store, &header).await.expect("committed");
    assert_whole(&store, &header).await;
    disk.wipe(Path::new(DIR));
    assert!(!store.is_lost(), "nobody has looked");
    clock.advance(Duration::from_millis(500));
    while !store.is_lost() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.status().state, DriveState::Away);
    assert_eq!(store.header(header.id).await, away());
}

#[tokio::test]
async fn a_store_that_was_closed_is_not_lost() {
    let disk = sim_drive(64 << 20, 1);
    let (store, clock) = open_with_clock(&disk);
    store.close().await;
    clock.advance(Duration::from_secs(5));
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(!store.is_lost());
    }
}

#[tokio::test]
async fn a_real_directory_that_is_renamed_or_replaced_is_noticed() {
    let root = tempfile::tempdir().expect("a directory");
    let (dir, elsewhere) = (root.path().join("drive"), root.path().join("elsewhere"));
    Store::format(Arc::new(RealDisk), &dir, &identity()).expect("formatted");
    let options =
        StoreOptions { high_watermark: 1.0, min_free_bytes: 0, ..StoreOptions::default() };
    let open = || Store::open(Arc::new(RealDisk), Runtime::real(), &dir, options.clone());
    let store = open().expect("opened");
    let (small, large) = (shard(1, 1, 4000), shard(1, 2, 2_000_000));
    put(&store, &small).await.expect("committed");
    RealDisk.rename(&dir, &elsewhere).expect("renamed");
    Store::format(Arc::new(RealDisk), &dir, &identity()).expect("formatted");
    assert_eq!(put(&store, &large).await, away());
    assert!(store.is_lost() && !store.is_in_place());
    RealDisk.remove(&dir.join("drive.json")).expect("removed");
    RealDisk.remove_dir(&dir).expect("removed");
    RealDisk.rename(&elsewhere, &dir).expect("renamed back");
    assert_eq!(put(&store, &large).await, away(), "it does not come back to life");
    assert!(open().is_err(), "the old store has its lock");
    store.close().await;
    let store = open().expect("opened again");
    assert_whole(&store, &small).await;
    put(&store, &large).await.expect("committed");
}

/// What may happen to the file that is appended to.
fn harms() -> Vec<fn(&SimDisk, &Path)> {
    fn remove(disk: &SimDisk, path: &Path) {
        disk.wipe(path);
    }
    fn replace(disk: &SimDisk, path: &Path) {
        let file = disk.open(path, false).expect("opened");
        let bytes = file.read_vec(file.len().expect("a length") as usize, 0, true).expect("read");
        disk.wipe(path);
        let other = disk.create(path).expect("created");
        other.write_at(&[IoSlice::new(&bytes)], 0).expect("written");
        other.sync().expect("synced");
        disk.sync_dir(Path::new("/drive/segments")).expect("synced");
    }
    fn cut(disk: &SimDisk, path: &Path) {
        disk.open(path, true).and_then(|file| file.set_len(3000)).expect("cut");
    }
    vec![remove, replace, cut]
}

#[tokio::test]
async fn an_open_segment_that_is_harmed_is_left_and_a_new_one_begun() {
    for (n, harm) in harms().into_iter().enumerate() {
        let disk = sim_drive(64 << 20, 1);
        let store = open(&disk, 1).expect("opened");
        let old: Vec<ShardHeader> = (1..=3).map(|n| shard(1, n, 1500)).collect();
        for header in &old {
            put(&store, header).await.expect("committed");
        }
        harm(&disk, &PathBuf::from("/drive/segments/0000000000000001.seg"));
        let new = shard(1, 9, 2000);
        put(&store, &new).await.expect("committed to another file");
        assert!(!store.is_lost());
        assert_eq!(store.status().state, DriveState::Up);
        assert_whole(&store, &new).await;
        let found = store.presence(old.iter().map(|header| header.id).collect()).await;
        let expected = match n {
            0 => [Presence::Damaged; 3],
            // The copy that stands there says what it should.
            1 => [Presence::Whole; 3],
            _ => [Presence::Whole, Presence::Damaged, Presence::Damaged],
        };
        assert_eq!(found.as_deref(), Ok(&expected[..]), "harm {n}");
        assert_eq!(store.delete(old[2].id).await, Ok(true), "what is damaged can be deleted");
        drop(store);
        disk.crash(n as u64);
        let store = open(&disk, 2).expect("opened again");
        assert_whole(&store, &new).await;
        assert_eq!(store.header(old[2].id).await, Err(ShardError::NotFound(old[2].id)));
    }
}

#[tokio::test]
async fn a_directory_of_large_shards_that_vanishes_is_made_again() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    put(&store, &shard(1, 1, 2_000_000)).await.expect("committed");
    for gone in ["/drive/files/0000000000000001/0000000000000", "/drive/files"] {
        disk.wipe(Path::new(gone));
        put(&store, &shard(1, 2, 2_000_000)).await.expect("committed");
        assert_whole(&store, &shard(1, 2, 2_000_000)).await;
        assert_eq!(store.status().state, DriveState::Up);
        let ids = vec![shard(1, 1, 0).id, shard(1, 2, 0).id];
        let found = store.presence(ids).await;
        assert_eq!(found.as_deref(), Ok(&[Presence::Absent, Presence::Whole][..]));
    }
    assert_eq!(names(&disk, "/drive/temp"), Vec::<String>::new());
}
