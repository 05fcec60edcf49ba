//! Compaction gives room back, ends, and never loses, doubles or revives a shard.

mod common;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use runtime::disk::{Disk, SimDisk};
use shards::{Compacted, ScrubBudget, ShardError, ShardHeader, Store, StoreOptions};

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let dir = Path::new("/drive/segments");
    disk.list(dir).expect("listed").iter().map(|entry| dir.join(&entry.name)).collect()
}

fn len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path, false).and_then(|file| file.len()).expect("a length")
}

/// Compacts until nothing is worth it; what that did.
async fn compact_all(store: &Store) -> Compacted {
    let mut all = Compacted::default();
    for _ in 0..1000 {
        let done = store.compact(20_000).await.expect("compacted");
        all.moved_bytes += done.moved_bytes;
        all.freed_bytes += done.freed_bytes;
        if !done.more {
            return all;
        }
    }
    panic!("it does not end");
}

/// A store whose segments are mostly dead; what is left in them.
async fn mostly_dead(disk: &SimDisk) -> (Arc<Store>, Vec<ShardHeader>) {
    let store = open(disk, 1).expect("opened");
    let all: Vec<_> = (1..=240).map(|n| shard(1 + n % 2, n, 1000 + n * 7)).collect();
    for header in &all {
        put(&store, header).await.expect("committed");
    }
    let (kept, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|h| h.home.is_multiple_of(5));
    for header in &gone {
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    let mut kept = kept;
    kept.sort_by_key(|header| header.id);
    (store, kept)
}

#[tokio::test]
async fn mostly_dead_segments_give_their_room_back() {
    let disk = sim_drive(64 << 20, 1);
    let empty = disk.space(Path::new(DIR)).expect("space").available;
    let (store, kept) = mostly_dead(&disk).await;
    let before: u64 = segments(&disk).iter().map(|path| len(&disk, path)).sum();
    let live: u64 = kept.iter().map(|header| header.payload_len).sum();
    let all = compact_all(&store).await;
    assert!(all.moved_bytes > live / 2 && all.moved_bytes < live * 2, "{all:?}");
    let after: u64 = segments(&disk).iter().map(|path| len(&disk, path)).sum();
    assert!(all.freed_bytes > before / 2 && after < before / 2, "{before} {after} {all:?}");
    let used = empty - disk.space(Path::new(DIR)).expect("space").available;
    assert!(used < 3 * live, "{used} for {live}");
    for header in &kept {
        assert_whole(&store, header).await;
    }
    store.counted().await;
    let figures = store.status();
    assert_eq!((list_all(&store, 7).await, figures.shards), (kept.clone(), kept.len() as u64));
    assert_eq!(store.compact(1 << 30).await, Ok(Compacted::default()), "there is no more to do");
    for n in 0..3 {
        // Also a start has nothing to do again, and finds the same.
        if n > 0 {
            store.close().await;
        }
        let store = open(&disk, n).unwrap_or_else(|_| store.clone());
        assert_eq!(list_all(&store, 7).await, kept);
        assert_eq!(store.status().used_bytes, figures.used_bytes);
        for header in &kept {
            assert_whole(&store, header).await;
        }
        store.close().await;
    }
}

#[tokio::test]
async fn segments_of_many_starts_are_merged_and_bytes_are_not_copied_for_ever() {
    let disk = sim_drive(256 << 20, 1);
    let big = StoreOptions { segment_bytes: 1 << 20, ..options() };
    let (mut moved, mut written, mut kept) = (0, 0, Vec::new());
    for n in 1..=120 {
        let store = open_with(&disk, n, big.clone()).expect("opened");
        for header in [shard(1, n * 10, 2000 + n), shard(1, n * 10 + 1, 900)] {
            written += header.payload_len + 104;
            put(&store, &header).await.expect("committed");
            kept.push(header);
        }
        if n.is_multiple_of(3) {
            let gone = kept.remove(n as usize / 2);
            assert_eq!(store.delete(gone.id).await, Ok(true));
        }
        moved += compact_all(&store).await.moved_bytes;
        store.close().await;
        assert!(segments(&disk).len() < 30, "{} segments after {n}", segments(&disk).len());
    }
    assert!(moved < 5 * written, "{moved} copied for {written} written");
    let store = open_with(&disk, 1, big).expect("opened");
    assert_eq!(list_all(&store, 50).await, kept);
    for header in &kept {
        assert_whole(&store, header).await;
    }
    // Only deletes in the newest: they hold on to nothing in the end.
    for header in &kept {
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    store.close().await;
    drop(store);
    let store = open(&disk, 1).expect("opened");
    compact_all(&store).await;
    assert!(segments(&disk).len() <= 1, "{:?}", segments(&disk));
    assert_eq!(list_all(&store, 10).await, []);
}

#[tokio::test]
async fn what_is_damaged_is_not_moved_and_stops_nothing() {
    let disk = sim_drive(64 << 20, 1);
    let (store, kept) = mostly_dead(&disk).await;
    let before = segments(&disk);
    let first = kept.iter().min_by_key(|header| header.home).expect("one");
    // Its record is the fifth or so of the first segment; a frame and, in another segment, a header.
    let file = disk.open(&before[0], false).expect("opened");
    let bytes = file.read_vec(len(&disk, &before[0]) as usize, 0, true).expect("read");
    let id = shards::codec::encode_shard_id(&first.id);
    let at = bytes.windows(25).position(|w| w == id).expect("its record") as u64 - 8;
    assert!(disk.corrupt(&before[0], at + 88 + 20, 4));
    compact_all(&store).await;
    assert!(segments(&disk).contains(&before[0]), "the damaged shard is where it was");
    assert_eq!(store.verify(first.id).await, Ok(vec![0]));
    let seen = store.scrub(None, ScrubBudget { bytes: 1 << 30, shards: 1000 }).await;
    let damaged: Vec<_> =
        seen.expect("a pass").seen.into_iter().filter(|s| !s.is_whole()).collect();
    assert_eq!((damaged.len(), damaged[0].id, &damaged[0].damaged[..]), (1, first.id, &[0][..]));
    assert_eq!(store.compact(1 << 30).await, Ok(Compacted::default()));
    for header in kept.iter().filter(|header| header.id != first.id) {
        assert_whole(&store, header).await;
    }
    // Once it is repaired elsewhere and deleted here, the file goes.
    assert_eq!(store.delete(first.id).await, Ok(true));
    // The thread that writes segments has done all that belongs to the first delete before it answers the second.
    assert_eq!(store.delete(first.id).await, Ok(false));
    assert!(!segments(&disk).contains(&before[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_deleters_do_not_notice() {
    let disk = sim_drive(256 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let all: Vec<_> = (1..=600).map(|n| shard(1 + n % 3, n, 1000 + n * 3)).collect();
    for header in &all {
        put(&store, header).await.expect("committed");
    }
    let compacting = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..400 {
                store.compact(3000).await.expect("compacted");
                tokio::task::yield_now().await;
            }
        }
    });
    let mut tasks = Vec::new();
    for part in 0..4 {
        let (store, mine) = (store.clone(), all[part * 150..][..150].to_vec());
        tasks.push(tokio::spawn(async move {
            for (n, header) in mine.iter().enumerate() {
                if !n.is_multiple_of(4) {
                    assert_eq!(store.delete(header.id).await, Ok(true));
                    let gone = Err(ShardError::NotFound(header.id));
                    assert_eq!(store.header(header.id).await, gone);
                }
                for kept in mine[..=n].iter().step_by(4) {
                    assert_eq!(store.header(kept.id).await.as_ref(), Ok(kept));
                    let read = store.read(kept.id, 0, 4).await;
                    assert!(read.as_deref() == Ok(&frames(kept)[..]), "{read:?}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("it ends well");
    }
    compacting.await.expect("it ends well");
    compact_all(&store).await;
    let mut kept: Vec<_> =
        all.chunks(150).flat_map(|part| part.iter().step_by(4)).copied().collect();
    kept.sort_by_key(|header| header.id);
    assert_eq!(list_all(&store, 50).await, kept);
    store.counted().await;
    assert_eq!(store.status().shards, kept.len() as u64);
    drop(store);
    disk.crash(1);
    let store = open(&disk, 2).expect("opened");
    assert_eq!(list_all(&store, 50).await, kept);
    assert_eq!(store.status().shards, kept.len() as u64);
}

/// A delete in an older segment names a record of a newer one that compaction has made and that is gone since. No new
/// segment may have the number of that one.
#[tokio::test]
async fn the_number_of_a_segment_that_is_gone_is_not_used_again() {
    let disk = sim_drive(64 << 20, 1);
    let (store, kept) = mostly_dead(&disk).await;
    compact_all(&store).await;
    let highest = segments(&disk).last().cloned().expect("one");
    for header in &kept {
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    let anchor = shard(7, 1, 500);
    put(&store, &anchor).await.expect("committed");
    store.close().await;
    drop(store);
    assert!(!segments(&disk).contains(&highest));
    let mut headers = vec![anchor];
    for life in 0..6 {
        let store = open(&disk, 10 + life).expect("opened");
        for n in 0..40 {
            headers.push(shard(8, 100 * life + n, 300));
            put(&store, headers.last().expect("one")).await.expect("committed");
        }
        store.close().await;
        drop(store);
        let store = open(&disk, 20 + life).expect("opened");
        assert_eq!(list_all(&store, 100).await, headers);
    }
}

#[tokio::test]
async fn an_old_copy_of_a_removed_segment_revives_nothing_silently() {
    // Somebody puts back the file of a segment that was compacted away: its shards are there again under their old
    // places, whole, beside the copies; deletes count for both.
    let disk = sim_drive(64 << 20, 1);
    let (store, kept) = mostly_dead(&disk).await;
    let path = segments(&disk)[0].clone();
    let old = disk.open(&path, false).expect("opened");
    let old = old.read_vec(len(&disk, &path) as usize, 0, true).expect("read");
    compact_all(&store).await;
    store.close().await;
    drop(store);
    assert!(!segments(&disk).contains(&path));
    let file = disk.create(&path).expect("created");
    file.write_at(&[IoSlice::new(&old)], 0).expect("written");
    let store = open(&disk, 2).expect("opened");
    for header in &kept {
        assert_whole(&store, header).await;
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    store.close().await;
    drop(store);
    let store = open(&disk, 3).expect("opened");
    for header in &kept {
        assert_eq!(store.header(header.id).await, Err(ShardError::NotFound(header.id)));
    }
}
