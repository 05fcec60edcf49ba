//! The codecs: what is encoded decodes to itself, and no bytes at all make them panic.

mod common;

use proptest::collection::vec;
use proptest::prelude::*;
use shards::codec::{
    self, DeadRecord, FooterTables, IndexEntry, PAGE_BYTES, Record, RecordBody, SegmentHeader,
    SessionRange, Trailer, Undecodable,
};
use shards::{ShardHeader, ShardId};
use types::{BlobId, CopyId, DriveId, SessionId};

prop_compose! {
    fn any_id()(session: u64, sequence: u64, index in 0u8..32, copy: u64) -> ShardId {
        let blob = BlobId { session: SessionId::new(session), sequence };
        ShardId { blob, index, copy: CopyId::new(copy) }
    }
}

prop_compose! {
    fn any_header()(
        id in any_id(),
        parity_shards in 0u8..16,
        blob_len in 0u64..1 << 56,
        payload_len in 0u64..1 << 56,
        home: u64,
    ) -> ShardHeader {
        let data_shards = 32 - parity_shards;
        ShardHeader { id, data_shards, parity_shards, blob_len, payload_len, home }
    }
}

fn any_body() -> impl Strategy<Value = RecordBody> {
    let delete = (any_id(), any::<u64>(), any::<u32>(), any::<u64>());
    prop_oneof![
        any_header().prop_map(RecordBody::Shard),
        delete.prop_map(|(id, segment, number, bytes)| {
            RecordBody::Delete { id, segment, number, bytes }
        }),
    ]
}

fn decode_all(bytes: &[u8], salt: u64) {
    let _ = codec::decode_record(bytes, salt);
    let _ = codec::decode_segment_header(bytes);
    let _ = codec::decode_page(salt, 0, bytes);
    if let Ok(trailer) = codec::decode_trailer(bytes, salt) {
        let _ = codec::decode_tables(&trailer, bytes);
    }
}

proptest! {
    #[test]
    fn records_round_trip(
        body in any_body(), segment: u64, offset: u64, number: u32, salt: u64, flip in 0usize..88,
    ) {
        let record = Record { segment, offset, number, body };
        let mut bytes = codec::encode_record(&record, salt);
        prop_assert_eq!(codec::decode_record(&bytes, salt), Ok(record));
        prop_assert_eq!(codec::decode_record(&bytes, salt ^ 1), Err(Undecodable::Damaged));
        bytes[flip] ^= 0x20;
        prop_assert_eq!(codec::decode_record(&bytes, salt), Err(Undecodable::Damaged));
    }

    #[test]
    fn segment_headers_round_trip(drive: u64, number: u64, salt: u64, flip in 0usize..64) {
        let header = SegmentHeader { drive: DriveId::new(drive), number, salt };
        let mut bytes = codec::encode_segment_header(&header);
        bytes[flip] ^= 1;
        prop_assert_eq!(codec::decode_segment_header(&bytes), Ok(header));
        bytes[512 + flip] ^= 1;
        prop_assert_eq!(codec::decode_segment_header(&bytes), Err(Undecodable::Damaged));
    }

    #[test]
    fn pages_round_trip(headers in vec(any_header(), 0..80), salt: u64, page: u32, flip in 0..PAGE_BYTES) {
        let mut entries: Vec<IndexEntry> = (0..)
            .zip(headers)
            .map(|(number, header)| IndexEntry { header, number, offset: u64::from(number) << 20 })
            .collect();
        entries.sort_by_key(|entry| entry.header.id);
        let mut bytes = codec::encode_page(salt, page, &entries);
        entries.truncate(codec::PAGE_ENTRIES);
        prop_assert_eq!(codec::decode_page(salt, page, &bytes), Ok(entries));
        prop_assert!(codec::decode_page(salt, page ^ 1, &bytes).is_err());
        bytes[flip] ^= 1;
        prop_assert!(codec::decode_page(salt, page, &bytes).is_err());
    }

    #[test]
    fn tables_and_trailers_round_trip(
        mut fences in vec(any_id(), 0..20), last in any_id(), sessions in vec(any::<u64>(), 0..9),
        dead in vec((any::<u64>(), any::<u32>(), any::<u32>()), 0..9), filter in vec(any::<u8>(), 0..99),
        live in vec(any::<u64>(), 0..9),
        salt: u64, drive: u64, flip in 0usize..128,
    ) {
        fences.sort();
        let last = fences.last().map(|fence| last.max(*fence));
        let ranges: Vec<_> = sessions
            .iter()
            .map(|&s| SessionRange { session: SessionId::new(s), first: s, last: s + (s >> 1 & 7) })
            .collect();
        let dead: Vec<_> = dead
            .into_iter()
            .map(|(segment, number, bytes)| DeadRecord { segment, number, bytes })
            .collect();
        let tables = FooterTables { fences, last, ranges, dead, live, filter };
        let encoded = codec::encode_tables(&tables);
        let trailer = Trailer {
            drive: DriveId::new(drive),
            segment: salt.rotate_left(7),
            records_end: 1,
            pages_offset: 4096,
            pages: tables.fences.len() as u32,
            shards: 3,
            shard_bytes: 4,
            ranges: tables.ranges.len() as u32,
            dead: tables.dead.len() as u32,
            live_words: tables.live.len() as u32,
            filter_bytes: tables.filter.len() as u32,
            tables_offset: 5,
            tables_len: encoded.len() as u64,
            tables_checksum: twox_hash::XxHash3_64::oneshot(&encoded),
        };
        let mut bytes = codec::encode_trailer(&trailer, salt);
        prop_assert_eq!(codec::decode_trailer(&bytes, salt), Ok(trailer));
        prop_assert_eq!(codec::decode_tables(&trailer, &encoded), Ok(tables));
        bytes[flip] ^= 1;
        prop_assert_eq!(codec::decode_trailer(&bytes, salt), Err(Undecodable::Damaged));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..5000), salt: u64) {
        decode_all(&bytes, salt);
    }

    /// Past the checksums: right magic and right sum around arbitrary fields.
    #[test]
    fn arbitrary_fields_never_panic(
        mut bytes in vec(any::<u8>(), 4096), kind in 0usize..4, version in 0u8..3, small: bool, salt: u64,
    ) {
        let (magic, len) = [(b"UCsr", 88), (b"UCsg", 64), (b"UCsp", 4096), (b"UCsf", 128)][kind];
        bytes.truncate(len);
        if small {
            bytes.iter_mut().for_each(|byte| *byte &= 1);
        }
        bytes[..4].copy_from_slice(magic);
        bytes[4] = version;
        let salt = if kind == 1 { 0 } else { salt };
        let sum = twox_hash::XxHash3_64::oneshot_with_seed(salt, &bytes[..len - 8]);
        bytes[len - 8..].copy_from_slice(&sum.to_le_bytes());
        decode_all(&bytes, salt);
        if version == 2 && kind != 2 {
            let newer = Err(Undecodable::Newer(2));
            match kind {
                0 => prop_assert_eq!(codec::decode_record(&bytes, salt).map(|_| ()), newer),
                1 => prop_assert_eq!(codec::decode_segment_header(&bytes).map(|_| ()), newer),
                _ => prop_assert_eq!(codec::decode_trailer(&bytes, salt).map(|_| ()), newer),
            }
        }
    }

    #[test]
    fn the_filter_forgets_nothing(ids in vec(any_id(), 1..200)) {
        let mut filter = vec![0; codec::filter_bytes(ids.len())];
        ids.iter().for_each(|id| codec::filter_add(&mut filter, id));
        prop_assert!(ids.iter().all(|id| codec::filter_may_hold(&filter, id)));
    }

    #[test]
    fn ids_sort_as_their_bytes(a in any_id(), b in any_id()) {
        let (x, y) = (codec::encode_shard_id(&a), codec::encode_shard_id(&b));
        prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        prop_assert_eq!(codec::decode_shard_id(&x), a);
    }
}

#[test]
fn the_filter_rarely_errs() {
    let ids: Vec<_> = (1..=20_000).map(|n| common::shard(1, n, 0).id).collect();
    let mut filter = vec![0; codec::filter_bytes(10_000)];
    ids[..10_000].iter().for_each(|id| codec::filter_add(&mut filter, id));
    let wrong = ids[10_000..].iter().filter(|id| codec::filter_may_hold(&filter, id)).count();
    assert!(wrong < 200, "{wrong} of 10,000");
    assert!(!codec::filter_may_hold(&[], &ids[0]));
}
