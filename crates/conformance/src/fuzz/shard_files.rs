//! What a drive's files may hold after everything that can happen to them.

use shards::codec::{
    DeadRecord, FooterTables, INDEX_ENTRY_BYTES, IndexEntry, PAGE_BYTES, PAGE_ENTRIES,
    RECORD_HEADER_BYTES, Record, RecordBody, SegmentHeader, SessionRange, TRAILER_BYTES, Trailer,
    decode_page, decode_record, decode_segment_header, decode_tables, decode_trailer, encode_page,
    encode_record, encode_segment_header, encode_tables, encode_trailer,
};
use shards::{Frame, ShardHeader, ShardId};
use types::{BlobId, CopyId, DriveId, SessionId};

use super::draw::Draw;

/// Seed of the checksums in what the byte targets read.
const SALT: u64 = 0;

/// Any bytes under every decoder: none panics, and what one accepts it writes back as it was.
pub(super) fn bytes(data: &[u8]) {
    if let Ok(record) = decode_record(data, SALT) {
        assert_eq!(data.get(..RECORD_HEADER_BYTES), Some(&encode_record(&record, SALT)[..]));
        let _ = record.disk_len();
    }
    if let Ok(header) = decode_segment_header(data) {
        let again = encode_segment_header(&header);
        assert_eq!(decode_segment_header(&again), Ok(header));
    }
    if let Ok(entries) = decode_page(SALT, 0, data) {
        assert!(entries.len() <= PAGE_ENTRIES);
        assert_eq!(decode_page(SALT, 0, &encode_page(SALT, 0, &entries)), Ok(entries));
    }
    let end = data.len().saturating_sub(TRAILER_BYTES);
    let (tables, last) = data.split_at(end);
    if let Ok(trailer) = decode_trailer(last, SALT) {
        assert_eq!(&encode_trailer(&trailer, SALT)[..], last);
        if let Ok(found) = decode_tables(&trailer, tables) {
            assert_eq!(encode_tables(&found), tables);
        }
    }
}

/// Valid structures of any fields: they survive writing and reading, and a flipped bit never does.
pub(super) fn fields(data: &[u8]) {
    let mut draw = Draw(data);
    let (salt, flip) = (draw.u64(), usize::from(draw.u16()));
    let record = record(&mut draw);
    let written = encode_record(&record, salt);
    if let Ok(read) = decode_record(&written, salt) {
        assert_eq!(read, record);
    }
    assert!(
        decode_record(&flipped(&written, flip), salt).is_err(),
        "a flipped bit was not noticed"
    );
    if salt != SALT {
        assert!(decode_record(&written, SALT).is_err(), "a record of another segment verifies");
    }

    let header = SegmentHeader { drive: DriveId::new(draw.u64()), number: draw.u64(), salt };
    let mut written = encode_segment_header(&header);
    assert_eq!(decode_segment_header(&written), Ok(header));
    written[flip % 64] ^= 1 << (flip % 8);
    assert_eq!(decode_segment_header(&written), Ok(header), "the second copy does not stand in");

    let mut entries: Vec<IndexEntry> = (0..usize::from(draw.u8()) % (PAGE_ENTRIES + 2))
        .map(|_| IndexEntry {
            header: sound_header(&mut draw),
            number: draw.u32(),
            offset: draw.u64() >> 9,
        })
        .collect();
    entries.sort_by_key(|entry| entry.header.id);
    let page = encode_page(salt, 3, &entries);
    entries.truncate(PAGE_ENTRIES);
    assert_eq!(page.len(), PAGE_BYTES);
    assert_eq!(decode_page(salt, 3, &page).as_ref(), Ok(&entries));
    assert!(decode_page(salt, 4, &page).is_err(), "a page in another's place verifies");
    assert!(decode_page(salt, 3, &flipped(&page, flip)).is_err(), "a flipped bit was not noticed");
    assert!(entries.len() * INDEX_ENTRY_BYTES < PAGE_BYTES);
}

/// A frame verifies in its own place and, however its bytes, its place or its sum are changed, in no other.
pub(super) fn frames(data: &[u8]) {
    let mut draw = Draw(data);
    let (id, number, flip) = (shard_id(&mut draw), draw.u64(), usize::from(draw.u16()));
    let frame = Frame::seal(&id, number, draw.0.to_vec().into());
    assert!(frame.verifies(&id, number));
    assert!(!frame.verifies(&id, number.wrapping_add(1)));
    assert!(!frame.verifies(&ShardId { index: id.index.wrapping_add(1), ..id }, number));
    let copy = CopyId::new(id.copy.get().wrapping_add(1));
    assert!(!frame.verifies(&ShardId { copy, ..id }, number));
    let wrong = Frame { checksum: frame.checksum ^ (1 << (flip % 64)), ..frame.clone() };
    assert!(!wrong.verifies(&id, number));
    if !frame.payload.is_empty() {
        let wrong = Frame { payload: flipped(&frame.payload, flip).into(), ..frame.clone() };
        assert!(!wrong.verifies(&id, number));
        let short = Frame { payload: frame.payload.slice(1..), ..frame };
        assert!(!short.verifies(&id, number));
    }
}

/// One of each structure.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let numbers: Vec<u8> = (1..=255).collect();
    let mut draw = Draw(&numbers);
    let header = sound_header(&mut draw);
    let entry = IndexEntry { header, number: 1, offset: 4096 };
    let shard = Record { segment: 1, offset: 1024, number: 2, body: RecordBody::Shard(header) };
    let gone = RecordBody::Delete { id: header.id, segment: 1, number: 2, bytes: 88 };
    let segment = SegmentHeader { drive: DriveId::new(5), number: 6, salt: 7 };
    let tables = FooterTables {
        fences: vec![header.id],
        last: Some(header.id),
        ranges: vec![SessionRange { session: SessionId::new(1), first: 2, last: 3 }],
        dead: vec![DeadRecord { segment: 1, number: 2, bytes: 3 }],
        live: vec![5],
        filter: vec![0xff; 10],
    };
    let mut footer = encode_tables(&tables);
    let trailer = Trailer {
        drive: DriveId::new(5),
        segment: 6,
        records_end: 8192,
        pages_offset: 8192,
        pages: 1,
        shards: 1,
        shard_bytes: 100,
        ranges: 1,
        dead: 1,
        live_words: 1,
        filter_bytes: 10,
        tables_offset: 12_288,
        tables_len: footer.len() as u64,
        tables_checksum: twox_hash::XxHash3_64::oneshot(&footer),
    };
    footer.extend_from_slice(&encode_trailer(&trailer, SALT));
    vec![
        encode_record(&shard, SALT).to_vec(),
        encode_record(&Record { body: gone, ..shard }, SALT).to_vec(),
        encode_segment_header(&segment),
        encode_page(SALT, 0, &[entry]),
        footer,
    ]
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = (bit / 8) % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    bytes
}

fn shard_id(draw: &mut Draw<'_>) -> ShardId {
    let blob = BlobId { session: SessionId::new(draw.u64()), sequence: draw.u64() };
    ShardId { blob, index: draw.u8(), copy: CopyId::new(draw.u64()) }
}

fn sound_header(draw: &mut Draw<'_>) -> ShardHeader {
    let (data_shards, parity_shards) = (1 + draw.u8() % 16, draw.u8() % 16);
    let mut id = shard_id(draw);
    id.index %= data_shards + parity_shards;
    let (blob_len, payload_len, home) = (draw.u64() >> 9, draw.u64() >> 9, draw.u64());
    ShardHeader { id, data_shards, parity_shards, blob_len, payload_len, home }
}

fn record(draw: &mut Draw<'_>) -> Record {
    let body = match draw.u8() % 2 {
        0 => RecordBody::Shard(sound_header(draw)),
        _ => RecordBody::Delete {
            id: shard_id(draw),
            segment: draw.u64(),
            number: draw.u32(),
            bytes: draw.u64(),
        },
    };
    Record { segment: draw.u64(), offset: draw.u64(), number: draw.u32(), body }
}
