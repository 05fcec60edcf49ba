//! Bytes that rot, and files that are cut: typed errors, never a panic, and no loss beyond what is damaged.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use runtime::disk::{Disk, SimDisk};
use shards::{OpenError, ShardError, ShardHeader};

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let dir = Path::new("/drive/segments");
    disk.list(dir).expect("listed").iter().map(|entry| dir.join(&entry.name)).collect()
}

/// A drive with one sealed segment of 100 shards, two of them deleted; the shards that are left.
async fn sealed_drive() -> (SimDisk, Vec<ShardHeader>) {
    let disk = sim_drive(64 << 20, 1);
    let options = shards::StoreOptions { segment_bytes: 64 << 20, ..options() };
    let store = open_with(&disk, 1, options).expect("opened");
    let mut headers: Vec<_> = (1..=100).map(|n| shard(1 + n % 2, n, 500 + n)).collect();
    for header in &headers {
        put(&store, header).await.expect("committed");
    }
    for _ in 0..2 {
        let gone = headers.swap_remove(17);
        assert_eq!(store.delete(gone.id).await, Ok(true));
    }
    store.close().await;
    headers.sort_by_key(|header| header.id);
    (disk, headers)
}

fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
    let entries = disk.list(Path::new(dir)).unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn len(disk: &SimDisk, path: &Path) -> u64 {
    disk.open(path, false).and_then(|file| file.len()).expect("a length")
}

#[tokio::test]
async fn a_damaged_footer_costs_a_scan_and_nothing_else() {
    let (disk, _) = sealed_drive().await;
    let size = len(&disk, &segments(&disk)[0]);
    // Trailer, tables, pages: the footer is the last 9 KiB or so.
    for offset in (size - 9000..size).step_by(97) {
        let (disk, headers) = sealed_drive().await;
        assert!(disk.corrupt(&segments(&disk)[0], offset, 0x10));
        let store = open(&disk, 1).expect("opened");
        for header in &headers {
            assert_whole(&store, header).await;
        }
        assert_eq!(list_all(&store, 9).await, headers);
        assert_eq!(store.status().shards, headers.len() as u64);
        put(&store, &shard(9, 9, 9)).await.expect("committed");
        store.close().await;
        drop(store);
        let store = open(&disk, 1).expect("opened");
        assert_eq!(list_all(&store, 9).await.len(), headers.len() + 1);
    }
}

#[tokio::test]
async fn one_copy_of_the_segment_header_is_enough() {
    let (disk, headers) = sealed_drive().await;
    let path = &segments(&disk)[0];
    let size = len(&disk, path);
    assert!(disk.corrupt(path, 20, 1));
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 50).await, headers);
    drop(store);
    // Without both, nothing in the file can be believed; it is kept, elsewhere.
    assert!(disk.corrupt(path, 512, 1));
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 50).await, []);
    assert_eq!(store.header(headers[0].id).await, Err(ShardError::NotFound(headers[0].id)));
    put(&store, &headers[0]).await.expect("it can be stored again");
    assert_eq!(segments(&disk).len(), 1);
    let kept = names(&disk, "/drive/quarantine");
    assert_eq!(kept, ["0000000000000000-0000000000000001.seg"]);
    assert_eq!(store.status().quarantine_bytes, size);
}

#[tokio::test]
async fn a_damaged_record_in_an_unsealed_segment_hides_only_itself() {
    for (damage, hidden) in [(1024 + 5, 0), (1024 + 88 + 10, 0), (1024 + 3000, 1)] {
        let disk = sim_drive(64 << 20, 1);
        let store = open(&disk, 1).expect("opened");
        let headers: Vec<_> = (1..=5).map(|n| shard(1, n, 2000)).collect();
        for header in &headers {
            put(&store, header).await.expect("committed");
        }
        drop(store);
        assert!(disk.corrupt(&segments(&disk)[0], damage, 1));
        let store = open(&disk, 1).expect("opened");
        for (n, header) in headers.iter().enumerate() {
            match n == hidden {
                true => {
                    let lost = Err(ShardError::NotFound(header.id));
                    assert_eq!(store.header(header.id).await, lost);
                }
                false => assert_whole(&store, header).await,
            }
        }
    }
}

#[tokio::test]
async fn damaged_frames_are_found_by_their_number() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let (small, large) = (shard(1, 1, 200_000), shard(1, 2, 2_000_000));
    put(&store, &small).await.expect("committed");
    put(&store, &large).await.expect("committed");
    let stride = 65_536 + 8;
    assert!(disk.corrupt(&segments(&disk)[0], 1024 + 88 + stride + 7, 4));
    let file = large_path(&large);
    assert!(disk.corrupt(&file, 88 + 3 * stride + 65_540, 4));
    assert_eq!(store.verify(small.id).await, Ok(vec![1]));
    assert_eq!(store.verify(large.id).await, Ok(vec![3]));
    let frames = store.read(large.id, 2, 2).await.expect("the caller verifies");
    assert!(frames[0].verifies(&large.id, 2) && !frames[1].verifies(&large.id, 3));
    // A cut file: the frames behind the cut are damaged, those before are not.
    disk.open(&file, true).and_then(|f| f.set_len(88 + 5 * stride + 100)).expect("cut");
    assert_eq!(store.verify(large.id).await, Ok((3..31).filter(|n| *n != 4).collect()));
    let cut = store.read(large.id, 5, 1).await;
    assert_eq!(cut, Err(ShardError::Corrupt { id: large.id, frame: Some(5) }));
}

#[tokio::test]
async fn a_damaged_or_misplaced_file_is_corrupt() {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let (one, two) = (shard(1, 1, 2_000_000), shard(1, 2, 2_000_000));
    put(&store, &one).await.expect("committed");
    put(&store, &two).await.expect("committed");
    // One under the name of the other.
    disk.rename(&large_path(&one), &large_path(&two)).expect("renamed");
    let corrupt = Err(ShardError::Corrupt { id: two.id, frame: None });
    assert_eq!(store.header(two.id).await, corrupt);
    assert_eq!(store.header(one.id).await, Err(ShardError::NotFound(one.id)));
    assert_eq!(list_all(&store, 10).await, []);
    assert_eq!(store.delete(two.id).await, Ok(true), "what is damaged can be deleted");
    let three = shard(1, 3, 2_000_000);
    put(&store, &three).await.expect("committed");
    disk.open(&large_path(&three), true).and_then(|f| f.set_len(50)).expect("cut");
    let corrupt = Err(ShardError::Corrupt { id: three.id, frame: None });
    assert_eq!(store.header(three.id).await, corrupt);
}

#[tokio::test]
async fn segments_cut_anywhere_open() {
    let (disk, headers) = sealed_drive().await;
    let size = len(&disk, &segments(&disk)[0]);
    for cut in (0..size).step_by(1531) {
        let (disk, _) = sealed_drive().await;
        disk.open(&segments(&disk)[0], true).and_then(|f| f.set_len(cut)).expect("cut");
        let store = open(&disk, 1).expect("opened");
        for header in list_all(&store, 50).await {
            assert_whole(&store, &header).await;
        }
        put(&store, &shard(9, 9, 9)).await.expect("committed");
    }
    assert_eq!(headers.len(), 98);
}

/// A user's object that is full of what looks like records, in a segment whose scan runs through it.
#[tokio::test]
async fn records_inside_a_payload_are_not_believed() {
    use shards::codec::{Record, RecordBody, encode_record};
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    let victim = shard(1, 1, 300);
    put(&store, &victim).await.expect("committed");
    // The second record begins at 1024 + 88 + 308 rounded up; its payload 88 behind that.
    let base = 1024 + 88 + 312 + 88;
    let mut payload = Vec::new();
    while payload.len() < 8800 {
        let offset = base + payload.len() as u64;
        let id = victim.id;
        let body = RecordBody::Delete { id, segment: 1, number: 0, bytes: 400 };
        payload.extend(encode_record(&Record { segment: 1, offset, number: 2, body }, 0));
    }
    let header = shard(1, 2, payload.len() as u64);
    let mut sink = store.create(header).expect("begun");
    let frame = shards::Frame::seal(&header.id, 0, payload.into());
    sink.write(vec![frame]).await.expect("accepted");
    sink.commit().await.expect("committed");
    drop(store);
    assert!(disk.corrupt(&segments(&disk)[0], 1024 + 88 + 312 + 9, 1), "its own header");
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 10).await, [victim]);
}

#[tokio::test]
async fn a_newer_segment_stops_the_start() {
    let (disk, _) = sealed_drive().await;
    let path = &segments(&disk)[0];
    let file = disk.open(path, true).expect("opened");
    let mut header = file.read_vec(64, 0, true).expect("the header");
    header[4] = 2;
    let sum = twox_hash::XxHash3_64::oneshot(&header[..56]);
    header[56..].copy_from_slice(&sum.to_le_bytes());
    file.write_at(&[std::io::IoSlice::new(&header)], 0).expect("written");
    assert!(matches!(open(&disk, 1), Err(OpenError::Newer { version: 2, .. })));
}

/// An unsealed segment of three shards, `append`ed to behind them; the drive, and where the records end.
async fn torn_drive(append: &[u8]) -> (SimDisk, u64) {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 1).expect("opened");
    for n in 1..=3 {
        put(&store, &shard(1, n, 2000)).await.expect("committed");
    }
    drop(store);
    let path = &segments(&disk)[0];
    let end = len(&disk, path);
    let file = disk.open(path, true).expect("opened");
    file.write_at(&[std::io::IoSlice::new(append)], end).expect("written");
    file.sync().expect("synced");
    (disk, end)
}

#[tokio::test]
async fn a_write_that_was_cut_short_leaves_nothing_behind() {
    // As when the process is killed in the middle of a group: any beginning of what it was writing.
    for (kept, cut) in [(3, 1), (3, 50), (3, 88), (3, 500), (3, 2000), (0, 1), (0, 700)] {
        let (disk, end) = torn_drive(&[]).await;
        let path = segments(&disk)[0].clone();
        let one = (end - 1024) / 3;
        let file = disk.open(&path, true).expect("opened");
        // The last record but one is whole, the next begins.
        let len = 1024 + one * kept.min(2) + cut.min(one - 1);
        file.set_len(len).expect("cut");
        file.sync().expect("synced");
        let store = open(&disk, 1).expect("opened");
        assert_eq!(list_all(&store, 10).await.len() as u64, kept.min(2), "{kept} {cut}");
        assert_eq!(names(&disk, "/drive/quarantine"), Vec::<String>::new(), "{kept} {cut}");
        put(&store, &shard(2, 1, 2000)).await.expect("committed");
    }
}

#[tokio::test]
async fn what_is_cut_off_is_kept_unless_it_is_nothing() {
    let (disk, end) = torn_drive(&[0; 5000]).await;
    drop(open(&disk, 1).expect("opened"));
    assert_eq!(names(&disk, "/drive/quarantine"), Vec::<String>::new());

    let mut junk = vec![0; 3_000_000];
    junk[2_500_000] = 7;
    let (disk, same) = torn_drive(&junk).await;
    assert_eq!(end, same);
    let store = open(&disk, 1).expect("opened");
    let kept = format!("0000000000000000-0000000000000001-{end:016x}.part");
    assert_eq!(names(&disk, "/drive/quarantine"), std::slice::from_ref(&kept));
    let file = disk.open(&Path::new("/drive/quarantine").join(&kept), false).expect("opened");
    assert!(file.read_vec(3_000_000, 0, true).expect("read") == junk);
    assert_eq!(list_all(&store, 10).await.len(), 3);
    drop(store);
    let store = open(&disk, 1).expect("opened");
    assert_eq!(store.status().quarantine_bytes, 3_000_000);
    assert_eq!(names(&disk, "/drive/quarantine").len(), 1, "once");
    // What cannot be copied is not cut.
    let (disk, _) = torn_drive(&junk).await;
    let error = std::io::ErrorKind::StorageFull;
    disk.inject(runtime::disk::Fault {
        call: Some(runtime::disk::Call::Create),
        after: 0,
        error,
        forever: false,
    });
    let before = len(&disk, &segments(&disk)[0]);
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 10).await.len(), 3);
    assert_eq!(len(&disk, &segments(&disk)[0]), before);
}

#[tokio::test]
async fn a_segment_in_which_nothing_verifies_is_kept() {
    let (disk, headers) = sealed_drive().await;
    let path = segments(&disk)[0].clone();
    let file = disk.open(&path, true).expect("opened");
    let size = file.len().expect("a length");
    file.write_at(&[std::io::IoSlice::new(&vec![0xaa; size as usize - 1024])], 1024)
        .expect("written");
    file.sync().expect("synced");
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 50).await, []);
    assert_eq!(names(&disk, "/drive/quarantine"), ["0000000000000000-0000000000000001.seg"]);
    put(&store, &headers[0]).await.expect("committed");
    assert!(!segments(&disk).contains(&path), "its number is not used again");
}

#[tokio::test]
async fn one_alien_segment_among_our_own_is_set_aside() {
    let (other, _) = sealed_drive().await;
    let bytes = other.open(&segments(&other)[0], false).expect("opened");
    let bytes = bytes.read_vec(len(&other, &segments(&other)[0]) as usize, 0, true).expect("read");
    let (disk, headers) = sealed_drive().await;
    // The same drive's, under another number: an old copy of something.
    let alien = disk.create(Path::new("/drive/segments/0000000000000009.seg")).expect("created");
    alien.write_at(&[std::io::IoSlice::new(&bytes)], 0).expect("written");
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 50).await, headers);
    assert_eq!(names(&disk, "/drive/quarantine"), ["0000000000000000-0000000000000009.seg"]);
    put(&store, &shard(9, 9, 9)).await.expect("committed");
    drop(store);
    let store = open(&disk, 1).expect("opened");
    assert_eq!(list_all(&store, 50).await.len(), headers.len() + 1);
}
