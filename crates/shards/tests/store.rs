//! A store in good health: what is written is read, what is deleted is gone, now and after a restart.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use runtime::Runtime;
use runtime::disk::{Disk, RealDisk};
use shards::{DriveState, Frame, OpenError, ShardError, Store, StoreOptions};
use types::limits::SHARD_FILE_MIN_BYTES;
use types::{BlobId, DriveId, SessionId};

fn real_store(dir: &Path) -> Arc<Store> {
    Store::open(Arc::new(RealDisk), Runtime::real(), dir, real_options()).expect("opened")
}

fn real_options() -> StoreOptions {
    // Whatever else is on the disk of the machine that runs the tests.
    StoreOptions { high_watermark: 1.0, min_free_bytes: 0, ..StoreOptions::default() }
}

/// Sizes around every boundary.
fn sizes() -> Vec<u64> {
    let file = SHARD_FILE_MIN_BYTES;
    vec![0, 1, 7, 8, 4096, 65_535, 65_536, 65_537, 131_072, file - 1, file, file + 1, 5_000_000]
}

#[tokio::test]
async fn shards_of_every_size_survive_a_restart_on_a_real_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    Store::format(Arc::new(RealDisk), dir.path(), &identity()).expect("formatted");
    let store = real_store(dir.path());
    let headers: Vec<_> =
        (1..).zip(sizes()).map(|(sequence, len)| shard(7, sequence, len)).collect();
    for header in &headers {
        put(&store, header).await.expect("committed");
        assert_whole(&store, header).await;
    }
    let used = store.status().used_bytes;
    assert!(used > headers.iter().map(|h| h.payload_len).sum());
    store.close().await;
    assert_eq!(store.status().state, DriveState::Away);
    assert_eq!(
        store.read(headers[0].id, 0, 1).await,
        Err(ShardError::Away(identity().drive)),
        "a closed store serves nothing"
    );

    let store = real_store(dir.path());
    for header in &headers {
        assert_whole(&store, header).await;
    }
    assert_eq!(list_all(&store, 4).await, headers);
    store.counted().await;
    let status = store.status();
    assert_eq!((status.state, status.shards), (DriveState::Up, headers.len() as u64));
    assert_eq!(status.used_bytes, used);
    drop(store);

    let store = real_store(dir.path());
    for header in &headers {
        assert_eq!(store.delete(header.id).await, Ok(true));
        assert_eq!(store.delete(header.id).await, Ok(false));
        assert_eq!(store.header(header.id).await, Err(ShardError::NotFound(header.id)));
        assert_eq!(store.read(header.id, 0, 1).await, Err(ShardError::NotFound(header.id)));
    }
    drop(store);
    let store = real_store(dir.path());
    assert_eq!(list_all(&store, 100).await, []);
    store.counted().await;
    assert_eq!((store.status().shards, store.status().used_bytes), (0, 0));
}

#[tokio::test]
async fn a_read_gives_the_frames_asked_for_in_one_buffer() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    for len in [300_000, 3_000_000] {
        let header = shard(1, len, len);
        put(&store, &header).await.expect("committed");
        let all = frames(&header);
        let read = store.read(header.id, 1, 3).await.expect("frames");
        assert_eq!(read, all[1..4]);
        let gap = read[1].payload.as_ptr() as usize - read[0].payload.as_ptr() as usize;
        assert_eq!(gap, 65_536 + 8, "slices of one buffer");
        let last = header.frames() - 1;
        assert_eq!(store.read(header.id, last, 10).await.expect("frames"), all[last as usize..]);
        assert_eq!(store.read(header.id, last + 1, 10).await, Ok(Vec::new()));
        assert_eq!(store.read(header.id, u64::MAX, u32::MAX).await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn an_uncommitted_shard_leaves_nothing() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    for len in [5_000, 3_000_000] {
        let header = shard(1, len, len);
        let mut sink = store.create(header).expect("begun");
        sink.write(frames(&header)).await.expect("accepted");
        drop(sink);
        assert_eq!(store.header(header.id).await, Err(ShardError::NotFound(header.id)));
    }
    store.close().await;
    drop(store);
    let store = open(&disk, 2).expect("opened again");
    assert_eq!(list_all(&store, 10).await, []);
    assert!(disk.list(Path::new("/drive/temp")).expect("listed").is_empty());
}

#[tokio::test]
async fn writing_against_the_header_is_refused() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    for len in [100_000, 2_000_000] {
        let header = shard(1, len, len);
        let misuse = Err(ShardError::Misuse(header.id));
        let all = frames(&header);
        let mut sink = store.create(header).expect("begun");
        let wrong = Frame::seal(&header.id, 0, all[0].payload.slice(1..));
        assert_eq!(sink.write(vec![wrong]).await, misuse);
        let sink = store.create(header).expect("begun");
        assert_eq!(sink.commit().await, misuse, "frames are missing");
        let mut sink = store.create(header).expect("begun");
        sink.write(all.clone()).await.expect("accepted");
        assert_eq!(sink.write(vec![all[0].clone()]).await, misuse, "too many");
        put(&store, &header).await.expect("committed");
        assert_eq!(put(&store, &header).await, misuse, "it is there already");
        assert_whole(&store, &header).await;
    }
    let mut absurd = shard(1, 1, 1);
    absurd.id.index = 5;
    assert!(store.create(absurd).is_err());
    absurd.data_shards = 0;
    assert!(store.create(absurd).is_err());
    let endless = with_len(u64::MAX);
    assert!(store.create(endless).is_err());
}

fn with_len(payload_len: u64) -> shards::ShardHeader {
    shards::ShardHeader { payload_len, ..shard(1, 1, 1) }
}

#[tokio::test]
async fn listing_merges_segments_and_files_in_order() {
    let disk = sim_drive(256 << 20, 3);
    let store = open(&disk, 3).expect("opened");
    let rolls = Rolls::new(3);
    let mut model = Model::default();
    for n in 0..120 {
        let header = shard(rolls.below(4), rolls.below(50_000), rolls.payload_len());
        if model.shards.contains_key(&header.id) {
            continue;
        }
        let outcome = put(&store, &header).await;
        assert_eq!(outcome, Ok(()));
        model.after_put(header, &outcome);
        if n % 3 == 0 {
            let id = *model.shards.keys().nth(n / 2).unwrap_or(&header.id);
            let outcome = store.delete(id).await;
            model.after_delete(id, &outcome);
        }
    }
    model.check(&store).await;
    for page in [1, 2, 17, 1000] {
        assert_eq!(list_all(&store, page).await, list_all(&store, 3).await);
    }
    store.close().await;
    drop(store);
    let store = open(&disk, 4).expect("opened again");
    model.check(&store).await;
    assert_eq!(store.list(None, 0).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_second_store_on_the_same_drive_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let real = || Arc::new(RealDisk);
    let open = || Store::open(real(), Runtime::real(), dir.path(), real_options());
    let absent = OpenError::NotFormatted { dir: dir.path().to_owned() };
    assert_eq!(open().map(|_| ()), Err(absent));
    assert_eq!(Store::identity(real(), dir.path()), Ok(None));
    Store::format(real(), dir.path(), &identity()).expect("formatted");
    let again = Store::format(real(), dir.path(), &identity());
    assert!(matches!(again, Err(OpenError::AlreadyFormatted { .. })), "{again:?}");
    assert_eq!(Store::identity(real(), dir.path()), Ok(Some(identity())));
    let store = open().expect("opened");
    let locked = OpenError::Locked { dir: dir.path().to_owned() };
    assert_eq!(open().map(|_| ()), Err(locked));
    store.close().await;
    open().expect("free after the close");
}

#[tokio::test]
async fn a_foreign_or_newer_drive_is_refused() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    put(&store, &shard(1, 1, 100)).await.expect("committed");
    store.close().await;
    drop(store);
    // The segments of one drive under the identity of another.
    disk.remove(Path::new("/drive/drive.json")).expect("removed");
    let other = shards::Identity { drive: DriveId::new(2), ..identity() };
    Store::format(Arc::new(disk.clone()), Path::new(DIR), &other).expect("formatted");
    let owner = identity().drive;
    assert!(matches!(open(&disk, 1), Err(OpenError::Foreign { owner: o, .. }) if o == owner));
    disk.remove(Path::new("/drive/drive.json")).expect("removed");
    let newer = shards::Identity { v: 2, ..identity() };
    Store::format(Arc::new(disk.clone()), Path::new(DIR), &newer).expect("formatted");
    assert!(matches!(open(&disk, 1), Err(OpenError::Newer { version: 2, .. })));
    assert!(disk.corrupt(Path::new("/drive/drive.json"), 0, 0xff));
    assert!(matches!(open(&disk, 1), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_full_drive_refuses_new_shards_and_takes_deletes() {
    let disk = sim_drive(8 << 20, 1);
    let options = StoreOptions { high_watermark: 0.75, ..options() };
    let store = open_with(&disk, 1, options).expect("opened");
    let mut stored = Vec::new();
    let full = loop {
        let header = shard(1, stored.len() as u64 + 1, 1_100_000);
        match put(&store, &header).await {
            Ok(()) => stored.push(header),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ShardError::Full { available, .. } if available > 2 << 20), "{full:?}");
    assert_eq!(stored.len(), 5);
    for header in &stored[..2] {
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    put(&store, &shard(1, 100, 1_100_000)).await.expect("there is room again");
    for header in &stored[2..] {
        assert_whole(&store, header).await;
    }
}

#[tokio::test]
async fn deletes_give_room_back() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let before = store.status().available_bytes;
    let headers: Vec<_> = (1..=200).map(|n| shard(1, n, 20_000)).collect();
    for header in &headers {
        put(&store, header).await.expect("committed");
    }
    assert!(store.status().available_bytes < before - 4_000_000);
    for header in &headers {
        assert_eq!(store.delete(header.id).await, Ok(true));
    }
    // Holes, and whole segments: only the newest is left.
    store.close().await;
    let left = disk.list(Path::new("/drive/segments")).expect("listed").len();
    assert!(left <= 2, "{left} segments are left");
    let after = disk.space(Path::new(DIR)).expect("space").available;
    assert!(after + 300_000 > before, "{after} of {before}");
    drop(store);
    let store = open(&disk, 2).expect("opened again");
    assert_eq!(list_all(&store, 10).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_a_sync() {
    let disk = sim_drive(256 << 20, 1);
    let store = open_with(&disk, 1, StoreOptions { segment_bytes: 64 << 20, ..options() });
    let store = store.expect("opened");
    let mut tasks = Vec::new();
    for writer in 0..32 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..20 {
                let header = shard(writer, n + 1, 4000);
                put(&store, &header).await.expect("committed");
                assert_whole(&store, &header).await;
                if n % 2 == 0 {
                    assert_eq!(store.delete(header.id).await, Ok(true));
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("the writer ends well");
    }
    store.counted().await;
    assert_eq!(store.status().shards, 32 * 10);
    drop(store);
    let store = open(&disk, 1).expect("opened again");
    let listed = list_all(&store, 50).await;
    assert_eq!(listed.len(), 32 * 10);
    for header in listed {
        assert_whole(&store, &header).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_shards_are_written_side_by_side() {
    let dir = tempfile::tempdir().expect("a directory");
    Store::format(Arc::new(RealDisk), dir.path(), &identity()).expect("formatted");
    let store = real_store(dir.path());
    let mut tasks = Vec::new();
    for writer in 0..12 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let header = shard(1, writer + 1, 3_000_000 + writer);
            put(&store, &header).await.expect("committed");
            assert_whole(&store, &header).await;
            if writer % 2 == 0 {
                assert_eq!(store.delete(header.id).await, Ok(true));
            }
        }));
    }
    for task in tasks {
        task.await.expect("the writer ends well");
    }
    assert_eq!(list_all(&store, 5).await.len(), 6);
    store.counted().await;
    assert_eq!(store.status().shards, 6);
}

#[tokio::test]
async fn only_this_copy_is_deleted() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    for len in [1000, 2_000_000] {
        let one = shard(1, len, len);
        let mut two = one;
        two.id.copy = types::CopyId::new(99);
        put(&store, &one).await.expect("committed");
        put(&store, &two).await.expect("committed");
        assert_eq!(store.delete(one.id).await, Ok(true));
        assert_whole(&store, &two).await;
        let mut other = two.id;
        other.blob = BlobId { session: SessionId::new(8), sequence: 8 };
        assert_eq!(store.delete(other).await, Ok(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_come_and_go_with_their_shards() {
    let dir = tempfile::tempdir().expect("a directory");
    Store::format(Arc::new(RealDisk), dir.path(), &identity()).expect("formatted");
    let store = real_store(dir.path());
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..8 {
                // Few directories, which are made and removed all the time.
                let header = shard(1, (n % 2) * 5000 + writer * 10 + n, 1_048_576);
                put(&store, &header).await.expect("committed");
                assert_whole(&store, &header).await;
                assert_eq!(store.delete(header.id).await, Ok(true));
            }
        }));
    }
    for task in tasks {
        task.await.expect("the writer ends well");
    }
    let files = dir.path().join("files");
    assert_eq!(RealDisk.list(&files).expect("listed"), []);
    assert_eq!(store.status().state, DriveState::Up);
    put(&store, &shard(1, 1, 1_048_576)).await.expect("committed");
    drop(store);
    // One that a crash has left empty goes at the next start.
    RealDisk.create_dir_all(&files.join("0000000000000001/0000000000007")).expect("made");
    RealDisk.create_dir_all(&files.join("0000000000000002/0000000000000")).expect("made");
    let store = real_store(dir.path());
    store.counted().await;
    assert_eq!(RealDisk.list(&files).expect("listed").len(), 1);
    assert_whole(&store, &shard(1, 1, 1_048_576)).await;
}
