//! The bytes on disk, against files in git: a change of these is a change of the format.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use runtime::disk::{Disk, SimDisk};
use shards::codec::{self, RecordBody};
use shards::{ShardError, ShardHeader, Store};

const DRIVE: &[u8] = include_bytes!("golden/drive-v1.json");
const SEGMENT: &[u8] = include_bytes!("golden/segment-v1.seg");
const SHARD_HEADER: &[u8] = include_bytes!("golden/shard-header-v1.bin");

fn contents(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), false).expect("opened");
    let len = file.len().expect("a length") as usize;
    file.read_vec(len, 0, true).expect("all bytes")
}

fn assert_golden(name: &str, golden: &[u8], actual: &[u8]) {
    if golden != actual {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        #[allow(clippy::disallowed_methods, reason = "for the eyes of whoever changes the format")]
        std::fs::write(&path, actual).expect("written");
        panic!("{name} is not what is in git; see {}", path.display());
    }
}

fn small() -> [ShardHeader; 4] {
    [shard(1, 1, 100), shard(2, 2, 300), shard(1, 3, 0), shard(1, 4, 77)]
}

/// One of each kind of record, sealed.
async fn written() -> SimDisk {
    let disk = sim_drive(64 << 20, 1);
    let store = open(&disk, 42).expect("opened");
    for header in small() {
        put(&store, &header).await.expect("committed");
    }
    assert_eq!(store.delete(small()[3].id).await, Ok(true));
    put(&store, &shard(1, 9000, 1 << 20)).await.expect("committed");
    store.close().await;
    disk
}

#[tokio::test]
async fn the_bytes_are_those_in_git() {
    let disk = written().await;
    assert_golden("drive-v1.json", DRIVE, &contents(&disk, "/drive/drive.json"));
    let segment = contents(&disk, "/drive/segments/0000000000000001.seg");
    assert_golden("segment-v1.seg", SEGMENT, &segment);
    let header = shard(1, 9000, 1 << 20);
    let path = format!(
        "/drive/files/0000000000000001/0000000000002/0000000000002328-00-{}.shard",
        header.id.copy
    );
    let file = contents(&disk, &path);
    assert_golden("shard-header-v1.bin", SHARD_HEADER, &file[..88]);
    let frames: Vec<u8> = frames(&header)
        .iter()
        .flat_map(|f| [&f.payload[..], &f.checksum.to_le_bytes()].concat())
        .collect();
    assert!(file[88..] == frames, "the frames follow the header");
}

#[tokio::test]
async fn an_old_drive_opens() {
    let disk = SimDisk::new(64 << 20, 1);
    disk.create_dir_all(Path::new("/drive/segments")).expect("made");
    for (path, bytes) in
        [("/drive/drive.json", DRIVE), ("/drive/segments/0000000000000001.seg", SEGMENT)]
    {
        let file = disk.create(Path::new(path)).expect("created");
        file.write_at(&[std::io::IoSlice::new(bytes)], 0).expect("written");
    }
    let found = Store::identity(Arc::new(disk.clone()), Path::new(DIR));
    assert_eq!(found, Ok(Some(identity())));
    let store = open(&disk, 1).expect("opened");
    for header in &small()[..3] {
        assert_whole(&store, header).await;
    }
    let gone = small()[3].id;
    assert_eq!(store.header(gone).await, Err(ShardError::NotFound(gone)));
}

#[test]
fn the_drawing_of_a_record_is_right() {
    let record = codec::decode_record(SHARD_HEADER, 0).expect("a record");
    let header = shard(1, 9000, 1 << 20);
    assert_eq!(record.body, RecordBody::Shard(header));
    assert_eq!(SHARD_HEADER[..8], *b"UCsr\x01\x01\x03\x02");
    assert_eq!(SHARD_HEADER[8..24], header.id.blob.to_bytes());
    assert_eq!(SHARD_HEADER[24], header.id.index);
    assert_eq!(SHARD_HEADER[25..33], header.id.copy.to_bytes());
    assert_eq!(SHARD_HEADER[33..40], [0; 7]);
    assert_eq!(SHARD_HEADER[40..48], header.blob_len.to_le_bytes());
    assert_eq!(SHARD_HEADER[48..56], header.payload_len.to_le_bytes());
    assert_eq!(SHARD_HEADER[56..64], header.home.to_le_bytes());
    assert_eq!(SHARD_HEADER[64..80], [0; 16]);
    let sum = twox_hash::XxHash3_64::oneshot(&SHARD_HEADER[..80]);
    assert_eq!(SHARD_HEADER[80..], sum.to_le_bytes());
}

#[test]
fn the_drawing_of_a_segment_is_right() {
    let u32_at = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"))
    };
    let u64_at = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"))
    };
    assert_eq!(SEGMENT[..8], *b"UCsg\x01\0\0\0");
    assert_eq!(SEGMENT[..512], SEGMENT[512..1024]);
    assert_eq!(SEGMENT[8..16], identity().drive.to_bytes());
    assert_eq!((u64_at(SEGMENT, 16), SEGMENT[24..32] == [0; 8]), (1, false));
    assert_eq!(SEGMENT[1024..1030], *b"UCsr\x01\x01");

    let trailer = &SEGMENT[SEGMENT.len() - 128..];
    assert_eq!(trailer[..8], *b"UCsf\x01\0\0\0");
    assert_eq!(trailer[8..16], identity().drive.to_bytes());
    assert_eq!(u64_at(trailer, 16), 1, "the segment");
    // Headers, checksums and padding of 100, 300, 0 and 77 bytes, and a delete.
    let records_end = 1024 + 5 * 88 + (100 + 8 + 4) + (300 + 8 + 4) + (77 + 8 + 3);
    assert_eq!(u64_at(trailer, 24), records_end);
    assert_eq!((u64_at(trailer, 32), u32_at(trailer, 40)), (4096, 1), "one page");
    assert_eq!(SEGMENT[records_end as usize..4096], vec![0; 4096 - records_end as usize]);
    assert_eq!(u32_at(trailer, 44), 3, "live shards");
    assert_eq!(u64_at(trailer, 48), 3 * 88 + 112 + 312);
    assert_eq!((u32_at(trailer, 56), u32_at(trailer, 60)), (2, 1), "sessions and deletes");
    assert_eq!((u32_at(trailer, 64), u32_at(trailer, 68)), (1, 4), "bitmap and filter");
    let tables_len = 2 * 25 + 2 * 24 + 16 + 8 + 4;
    assert_eq!((u64_at(trailer, 72), u64_at(trailer, 80)), (8192, tables_len));
    assert_eq!(8192 + tables_len as usize + 128, SEGMENT.len());

    let page = &SEGMENT[4096..8192];
    assert_eq!(page[..16], *b"UCsp\x03\0\0\0\0\0\0\0\0\0\0\0");
    let entry = &page[16 + 64..];
    let second = small()[2];
    assert_eq!(entry[..25], codec::encode_shard_id(&second.id));
    assert_eq!((entry[25], entry[26], u32_at(entry, 28)), (3, 2, 2));
    assert_eq!(u64_at(entry, 32), 1024 + 2 * 88 + 112 + 312);
    assert_eq!((u64_at(entry, 40), u64_at(entry, 48)), (second.blob_len, second.payload_len));
    assert_eq!(u64_at(entry, 56), second.home);
    let live = &SEGMENT[8192 + 50 + 48 + 16..];
    assert_eq!(u64_at(live, 0), 0b0111, "the fourth record is a dead shard, the fifth a delete");
}
