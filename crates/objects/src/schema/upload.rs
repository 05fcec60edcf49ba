//! An upload in progress. It is deleted by completing or aborting it: a part guards its revision.
//!
//! Key: [`Kind::Upload`], `bucket id (8), key (escaped), upload id (16)`: uploads are listed by key.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{AccountId, BucketId, UnixMillis, UploadId};

use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};
use super::{Kind, checksum, headers};
use crate::digest::{ChecksumAlgorithm, ChecksumKind};
use crate::model::ObjectHeaders;

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// When it was begun.
    pub initiated: UnixMillis,
    /// Who began it.
    pub initiator: AccountId,
    /// Headers of the object to be.
    pub headers: ObjectHeaders,
    /// Which checksum its parts carry, and what the object's will be.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// The record's key.
pub fn key(home: Home, key: &str, upload: UploadId) -> Key {
    let mut escaped = Vec::with_capacity(key.len() + 2);
    kv::encode_text(key, &mut escaped);
    let bucket = home.bucket().to_bytes();
    key::build(home.token(), Kind::Upload, &[&bucket, &escaped, &upload.to_bytes()])
}

/// All uploads of a bucket whose keys begin with `prefix`, which is no longer than an object's key may be.
pub fn range(home: Home, prefix: &str) -> KeyRange {
    let bucket = home.bucket().to_bytes();
    key::range(home.token(), Kind::Upload, &[&bucket, &escaped_prefix(prefix)])
}

/// All uploads of exactly this key.
pub fn range_of_key(home: Home, key: &str) -> KeyRange {
    let mut escaped = Vec::with_capacity(key.len() + 2);
    kv::encode_text(key, &mut escaped);
    key::range(home.token(), Kind::Upload, &[&home.bucket().to_bytes(), &escaped])
}

/// The first place behind all uploads of exactly this text, which is no longer than an object's key may be and
/// need not be one.
pub(crate) fn behind(home: Home, text: &[u8]) -> Key {
    let mut escaped = Vec::with_capacity(text.len() + 2);
    for &byte in text {
        escaped.push(byte);
        if byte == 0 {
            escaped.push(0xff);
        }
    }
    // The end of a text is `00 01`, and what follows it is behind.
    escaped.extend_from_slice(&[0, 2]);
    key::build(home.token(), Kind::Upload, &[&home.bucket().to_bytes(), &escaped])
}

/// The escaped form without its end: what the escaped forms of all texts with this prefix begin with.
fn escaped_prefix(prefix: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(prefix.len() + 2);
    kv::encode_text(prefix, &mut escaped);
    escaped.truncate(escaped.len() - 2);
    escaped
}

/// Which upload to which key of which bucket a key is of.
pub fn parse_key(key: &[u8]) -> Option<(BucketId, String, UploadId)> {
    let (_, rest) = key::split_kind(key, Kind::Upload)?;
    let (bucket, rest) = key::take_bucket(rest)?;
    let (text, id) = kv::decode_text(rest)?;
    Some((bucket, text, UploadId::from_slice(id)?))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint64, tag = "1")]
    initiated_ms: u64,
    #[prost(uint64, tag = "2")]
    initiator: u64,
    #[prost(uint32, tag = "3")]
    checksum_code: u32,
    #[prost(message, optional, tag = "4")]
    headers: Option<headers::Wire>,
}

impl Record for Upload {
    const NAME: &'static str = "upload";

    fn encode(&self) -> Bytes {
        let wire = Wire {
            initiated_ms: self.initiated.0,
            initiator: self.initiator.get(),
            checksum_code: self.checksum.map_or(0, |(a, k)| checksum::code(a, k)),
            headers: headers::to_wire(&self.headers),
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        let wrong = Undecodable(Self::NAME);
        Ok(Self {
            initiated: UnixMillis(wire.initiated_ms),
            initiator: AccountId::new(wire.initiator).ok_or(wrong)?,
            headers: headers::from_wire(wire.headers),
            checksum: checksum::from_code(wire.checksum_code).map_err(|()| wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};
    use crate::schema::headers;

    #[test]
    fn golden_bytes() {
        let record = Upload {
            initiated: UnixMillis(1_700_000_000_123),
            initiator: AccountId::new(42).expect("an account"),
            headers: ObjectHeaders { cache_control: Some("no".to_owned()), ..Default::default() },
            checksum: Some((ChecksumAlgorithm::Crc64Nvme, ChecksumKind::FullObject)),
        };
        golden(&record, "0108fbd095ffbc31102a180322042a026e6f");
    }

    #[test]
    fn keys_sort_by_object_key_then_upload() {
        let home = Home::of(BucketId::new(7));
        let mut sorted = Vec::new();
        for text in ["\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a/", "a/b", "b"] {
            for id in [0, 1, u128::MAX] {
                let key = key(home, text, UploadId::new(id));
                let parsed = parse_key(key.as_bytes()).expect("parses");
                assert_eq!(parsed, (home.bucket(), text.to_owned(), UploadId::new(id)));
                assert!(
                    range(home, text).contains(&key) && range_of_key(home, text).contains(&key)
                );
                assert_eq!(behind(home, text.as_bytes()), *range_of_key(home, text).end());
                sorted.push(key);
            }
        }
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(range(home, "a").contains(&key(home, "a/b", UploadId::new(0))));
        assert!(!range_of_key(home, "a").contains(&key(home, "a/b", UploadId::new(0))));
        assert!(!range(home, "a\0").contains(&key(home, "a", UploadId::new(u128::MAX))));
    }

    proptest! {
        #[test]
        fn round_trip(ms: u64, initiator in 0_u64..1_000_000_000_000, code in 0_u32..6, headers in headers::testing::headers()) {
            round_trips(&Upload {
                initiated: UnixMillis(ms),
                initiator: AccountId::new(initiator).expect("an account"),
                headers,
                checksum: checksum::from_code(code).expect("a code"),
            });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Upload::decode(&value), parse_key(&value));
        }
    }
}
