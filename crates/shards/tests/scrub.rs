//! A scrub sees what is on the disk, not what was there when a file was opened; so does a look for copies.

mod common;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use runtime::disk::{Call, Disk, Fault, SimDisk};
use shards::{
    DriveState, Presence, ScrubBudget, Scrubbed, ShardHeader, ShardId, Store, StoreOptions,
};

const STRIDE: u64 = 65_536 + 8;

/// All slices of a pass.
async fn scrub_all(store: &Store, budget: ScrubBudget) -> Vec<Scrubbed> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let slice = store.scrub(after, budget).await.expect("a slice");
        assert!(slice.seen.len() <= budget.shards);
        seen.extend(slice.seen);
        match slice.next {
            None => return seen,
            next => {
                assert!(next > after);
                after = next;
            }
        }
    }
}

const WIDE: ScrubBudget = ScrubBudget { bytes: 1 << 30, shards: 10_000 };

/// Those that are not whole.
async fn damaged(store: &Store) -> Vec<(ShardId, Option<Vec<u64>>)> {
    let seen = scrub_all(store, WIDE).await.into_iter().filter(|seen| !seen.is_whole());
    seen.map(|seen| (seen.id, seen.header.map(|_| seen.damaged))).collect()
}

fn segment(number: u64) -> PathBuf {
    PathBuf::from(format!("/drive/segments/{number:016x}.seg"))
}

/// A store with small shards in a sealed and in the open segment, and with large ones; what it holds.
async fn store() -> (SimDisk, Arc<Store>, Vec<ShardHeader>) {
    let disk = sim_drive(256 << 20, 1);
    let big = StoreOptions { segment_bytes: 64 << 20, ..options() };
    let mut headers = Vec::new();
    for life in 0..2 {
        let store = open_with(&disk, 1, big.clone()).expect("opened");
        for n in (1 + life..160).step_by(2) {
            let len = if n % 30 == 3 { 1_200_000 + n * 1000 } else { n * 900 };
            headers.push(shard(1 + n % 3, n, len));
            put(&store, headers.last().expect("one")).await.expect("committed");
        }
        store.close().await;
    }
    headers.sort_by_key(|header| header.id);
    let store = open_with(&disk, 1, big).expect("opened");
    let header = shard(9, 9, 70_000);
    put(&store, &header).await.expect("committed");
    headers.push(header);
    for header in &headers {
        // All files are open from now on.
        assert_whole(&store, header).await;
    }
    (disk, store, headers)
}

#[tokio::test]
async fn a_pass_sees_every_live_shard_once_and_in_order() {
    let (_, store, mut headers) = store().await;
    for n in [1, 40, 80] {
        assert_eq!(store.delete(headers.remove(n).id).await, Ok(true));
    }
    let whole =
        |header: &ShardHeader| Scrubbed { id: header.id, header: Some(*header), damaged: vec![] };
    let expected: Vec<_> = headers.iter().map(whole).collect();
    for budget in [
        WIDE,
        ScrubBudget { bytes: 1, shards: 7 },
        ScrubBudget { bytes: 400_000, shards: 1000 },
        ScrubBudget { bytes: 1 << 30, shards: 1 },
    ] {
        assert_eq!(scrub_all(&store, budget).await, expected);
    }
    let all = store.scrub(None, WIDE).await.expect("a slice");
    let stored: u64 = headers.iter().map(|header| header.payload_len).sum();
    assert!(all.bytes > stored && all.bytes < stored * 2, "{} for {stored}", all.bytes);
    let first = store.scrub(None, ScrubBudget { bytes: 0, shards: 0 }).await.expect("a slice");
    assert_eq!((first.seen.len(), first.next), (1, Some(headers[0].id)));
}

#[tokio::test]
async fn what_happened_to_open_files_is_seen() {
    let (disk, store, headers) = store().await;
    let large: Vec<_> = headers.iter().filter(|h| h.payload_len > 1 << 20).copied().collect();
    let at = |n: usize| large_path(&large[n]);
    assert!(disk.corrupt(&at(0), 88 + 3 * STRIDE + 7, 1));
    disk.open(&at(1), true).and_then(|f| f.set_len(88 + 4 * STRIDE + 5)).expect("cut");
    assert!(disk.corrupt(&at(2), 40, 1));
    disk.remove(&at(3)).expect("removed");
    disk.rename(&at(4), &at(3)).expect("one under the name of another");
    // In segments: a frame of the first record of one, the header of the other's first.
    assert!(disk.corrupt(&segment(1), 1024 + 88 + 9, 1));
    assert!(disk.corrupt(&segment(2), 1024 + 9, 1));
    let cut = (4..large[1].frames()).collect();
    let small = |life: u64| shard(1 + (1 + life) % 3, 1 + life, 0).id;
    let mut expected = vec![
        (large[0].id, Some(vec![3])),
        (large[1].id, Some(cut)),
        (large[2].id, None),
        (large[3].id, None),
        (small(0), Some(vec![0])),
        (small(1), None),
    ];
    expected.sort();
    assert_eq!(damaged(&store).await, expected);
    let ids = large.iter().take(5).map(|header| header.id).collect();
    let found = store.presence(ids).await.expect("told");
    use Presence::{Absent, Damaged, Whole};
    assert_eq!(found, [Whole, Damaged, Damaged, Damaged, Absent]);
}

#[tokio::test]
async fn a_file_that_is_gone_or_another_is_damage_of_all_that_was_in_it() {
    let (disk, store, headers) = store().await;
    let is_sealed = |h: &&ShardHeader| h.payload_len < 1 << 20 && h.id != shard(9, 9, 0).id;
    let small: Vec<_> = headers.iter().filter(is_sealed).collect();
    let ids: Vec<_> = small.iter().map(|header| header.id).collect();
    let whole = vec![Presence::Whole; ids.len()];
    assert_eq!(store.presence(ids.clone()).await, Ok(whole));
    disk.remove(&segment(1)).expect("removed");
    // The segment of another drive, or here of the same drive under another number.
    disk.remove(&segment(2)).expect("removed");
    let other = disk.create(&segment(2)).expect("created");
    other.write_at(&[IoSlice::new(&contents(&disk, &segment(3)))], 0).expect("written");
    let lost: Vec<_> = ids.iter().map(|id| (*id, None)).collect();
    assert!(damaged(&store).await == lost);
    assert_eq!(store.presence(ids.clone()).await, Ok(vec![Presence::Damaged; ids.len()]));
    // The indexes are gone with the files, once these are not open any more.
    for header in headers.iter().filter(|h| h.payload_len > 1 << 20) {
        assert_whole(&store, header).await;
    }
    assert_eq!(store.presence(ids.clone()).await, Ok(vec![Presence::Damaged; ids.len()]));
    assert_eq!(store.status().state, DriveState::Up);
    let again = ShardHeader { id: ShardId { copy: types::CopyId::new(5), ..ids[3] }, ..*small[3] };
    put(&store, &again).await.expect("a new copy can be written");
    assert_whole(&store, &again).await;
    assert!(store.delete(ids[3]).await.is_ok());
}

#[tokio::test]
async fn copies_that_were_never_there_are_absent() {
    let (_, store, headers) = store().await;
    let ids: Vec<ShardId> = (0..3000).map(|n| shard(1 + n % 4, n, 0).id).collect();
    let found = store.presence(ids.clone()).await.expect("told");
    for (id, found) in ids.iter().zip(found) {
        let is_here = headers.iter().any(|header| header.id == *id);
        assert_eq!(found == Presence::Whole, is_here, "{id:?} is {found:?}");
    }
    let gone = headers[5].id;
    assert_eq!(store.delete(gone).await, Ok(true));
    assert_eq!(store.presence(vec![gone]).await, Ok(vec![Presence::Absent]));
}

fn contents(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, false).expect("opened");
    file.read_vec(file.len().expect("a length") as usize, 0, true).expect("all bytes")
}

#[tokio::test]
async fn damaged_headers_and_footers_are_written_again() {
    let (disk, store, headers) = store().await;
    drop(store);
    let (path, before) = (segment(1), contents(&disk, &segment(1)));
    let size = before.len() as u64;
    let footer = u64::from_le_bytes(*before[before.len() - 96..].first_chunk().expect("8 bytes"));
    for offset in [3, 520].into_iter().chain((footer..size).step_by(301)) {
        let store = open(&disk, 1).expect("opened");
        assert!(disk.corrupt(&path, offset, 0x40));
        assert!(contents(&disk, &path) != before);
        assert_eq!(damaged(&store).await, [], "no shard is damaged");
        assert!(contents(&disk, &path) == before, "damage at {offset} of {size}");
        assert_eq!(list_all(&store, 100).await, headers);
    }
    // Found at the start already.
    for offset in [3, 520].into_iter().chain((footer..size - 128).step_by(301)) {
        assert!(disk.corrupt(&path, offset, 0x40));
        let store = open(&disk, 1).expect("opened");
        assert_eq!(damaged(&store).await, []);
        assert!(contents(&disk, &path) == before, "damage at {offset} of {size}");
    }
    // With a record's header, too: the page knows of it, and nothing is written over it.
    let store = open(&disk, 1).expect("opened");
    assert!(disk.corrupt(&path, 1030, 1) && disk.corrupt(&path, size - 1, 1));
    let first = shard(2, 1, 0).id;
    assert_eq!(damaged(&store).await, [(first, None)]);
    drop(store);
    let store = open(&disk, 1).expect("opened");
    assert_eq!(damaged(&store).await, [(first, None)]);
    assert!(disk.corrupt(&path, 1030, 1));
    assert!(contents(&disk, &path) == before);
    assert_eq!(damaged(&store).await, []);
}

#[tokio::test]
async fn nothing_is_written_into_a_file_that_is_not_ours() {
    let (disk, store, _) = store().await;
    disk.rename(&segment(2), &segment(1)).expect("renamed");
    let before = contents(&disk, &segment(1));
    scrub_all(&store, WIDE).await;
    assert!(contents(&disk, &segment(1)) == before);
}

#[tokio::test]
async fn spots_that_cannot_be_read_are_damage_and_many_make_the_drive_suspect() {
    let (disk, store, headers) = store().await;
    let large: Vec<_> = headers.iter().filter(|h| h.payload_len > 1 << 20).collect();
    let error = std::io::ErrorKind::Other;
    let fail = || disk.inject(Fault { call: Some(Call::Read), after: 0, error, forever: true });
    for _ in 0..20 {
        fail();
        assert!(store.read(large[0].id, 0, 1).await.is_err());
        disk.heal();
    }
    assert_eq!(store.status().state, DriveState::Up, "one bad spot");
    assert_eq!(damaged(&store).await, []);
    let mut more = Vec::new();
    for n in 0..8 {
        more.push(shard(3, 5000 + n, 1_100_000));
        put(&store, &more[n as usize]).await.expect("committed");
    }
    fail();
    let slice = store.scrub(Some(more[0].id), ScrubBudget { bytes: 1 << 30, shards: 3 }).await;
    let slice = slice.expect("a slice");
    assert!(slice.seen.iter().all(|seen| seen.header.is_none()));
    assert_eq!(store.status().state, DriveState::Up);
    store.scrub(Some(more[3].id), WIDE).await.expect("a slice");
    assert_eq!(store.status().state, DriveState::Suspect);
    disk.heal();
    for header in &more {
        assert_whole(&store, header).await;
    }
}

#[tokio::test]
async fn a_scrub_goes_on_beside_writes_and_deletes() {
    let disk = sim_drive(256 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..400_u64 {
                let len = if n.is_multiple_of(50) { 1_100_000 } else { 5000 };
                put(&store, &shard(1, n, len)).await.expect("committed");
                if n.is_multiple_of(3) {
                    let gone = shard(1, n / 3, 0).id;
                    assert_eq!(store.delete(gone).await, Ok(true));
                }
            }
        }
    });
    while !writer.is_finished() {
        for seen in scrub_all(&store, ScrubBudget { bytes: 100_000, shards: 50 }).await {
            assert!(seen.is_whole(), "{seen:?}");
        }
    }
    writer.await.expect("the writer ends well");
    // An old copy of a large shard is put back while the store is open.
    let header = shard(2, 1 << 20, 1_100_000);
    let bytes = {
        put(&store, &header).await.expect("committed");
        contents(&disk, &large_path(&header))
    };
    assert_eq!(store.delete(header.id).await, Ok(true));
    disk.create_dir_all(large_path(&header).parent().expect("a parent")).expect("made");
    let file = disk.create(&large_path(&header)).expect("created");
    file.write_at(&[IoSlice::new(&bytes)], 0).expect("written");
    let seen = scrub_all(&store, WIDE).await;
    assert!(seen.iter().any(|seen| seen.id == header.id && seen.is_whole()));
    assert_eq!(store.delete(header.id).await, Ok(true));
}
