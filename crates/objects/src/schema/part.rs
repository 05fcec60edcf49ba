//! A part of an upload. It outlives the upload: a completed object points to its parts, which are never copied
//! into one giant record, and which lie in the order of their numbers.
//!
//! Key: [`Kind::Part`], `upload id (16), number (2)`.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{UnixMillis, UploadId};

use super::codec::{self, Record, Undecodable, halves, whole};
use super::key::{self, Home};
use super::{BlobLocation, Etag, Kind, checksum, location};
use crate::digest::ChecksumValue;

/// A part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Length in bytes.
    pub len: u64,
    /// MD5 of its bytes, which is its ETag.
    pub md5: [u8; 16],
    /// When it was written.
    pub last_modified: UnixMillis,
    /// Checksum of its bytes, if there is one.
    pub checksum: Option<ChecksumValue>,
    /// Its blob, at the same home; `None` when its bytes lie beside it (or there are none).
    pub blob: Option<BlobLocation>,
}

impl Part {
    /// Its ETag.
    pub fn etag(&self) -> Etag {
        Etag::of_md5(self.md5)
    }
}

/// The record's key.
pub fn key(home: Home, upload: UploadId, number: u16) -> Key {
    key::build(home.token(), Kind::Part, &[&upload.to_bytes(), &number.to_be_bytes()])
}

/// All parts of an upload.
pub fn range(home: Home, upload: UploadId) -> KeyRange {
    key::range(home.token(), Kind::Part, &[&upload.to_bytes()])
}

/// Which part of which upload a key is of.
pub fn parse_key(key: &[u8]) -> Option<(UploadId, u16)> {
    let (_, rest) = key::split_kind(key, Kind::Part)?;
    let (upload, number) = rest.split_at_checked(UploadId::LEN)?;
    Some((UploadId::from_slice(upload)?, u16::from_be_bytes(number.try_into().ok()?)))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint64, tag = "1")]
    len: u64,
    #[prost(fixed64, tag = "2")]
    md5_high: u64,
    #[prost(fixed64, tag = "3")]
    md5_low: u64,
    #[prost(uint64, tag = "4")]
    last_modified_ms: u64,
    #[prost(uint32, tag = "5")]
    checksum_code: u32,
    #[prost(bytes = "vec", tag = "6")]
    checksum_value: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    blob: Option<location::Wire>,
}

impl Record for Part {
    const NAME: &'static str = "part";

    fn encode(&self) -> Bytes {
        let (md5_high, md5_low) = halves(u128::from_be_bytes(self.md5));
        let (checksum_code, checksum_value) = checksum::part_to_fields(self.checksum.as_ref());
        let wire = Wire {
            len: self.len,
            md5_high,
            md5_low,
            last_modified_ms: self.last_modified.0,
            checksum_code,
            checksum_value,
            blob: self.blob.as_ref().map(BlobLocation::to_wire),
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        let wrong = Undecodable(Self::NAME);
        let blob = match &wire.blob {
            Some(blob) => Some(BlobLocation::from_wire(blob).ok_or(wrong)?),
            None => None,
        };
        Ok(Self {
            len: wire.len,
            md5: whole(wire.md5_high, wire.md5_low).to_be_bytes(),
            last_modified: UnixMillis(wire.last_modified_ms),
            checksum: checksum::part_from_fields(wire.checksum_code, &wire.checksum_value)
                .map_err(|()| wrong)?,
            blob,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::BucketId;

    use super::*;
    use crate::digest::ChecksumAlgorithm;
    use crate::schema::codec::testing::{golden, round_trips};
    use crate::schema::{checksum, location};

    #[test]
    fn golden_bytes() {
        let record = Part {
            len: 100_000,
            md5: [0xab; 16],
            last_modified: UnixMillis(1_700_000_000_123),
            checksum: ChecksumValue::new(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]),
            blob: None,
        };
        golden(
            &record,
            "0108a08d0611abababababababab19abababababababab20fbd095ffbc312802320401020304",
        );
        let home = Home::of(BucketId::new(7));
        let key = key(home, UploadId::new(9), 10_000);
        assert_eq!(parse_key(key.as_bytes()), Some((UploadId::new(9), 10_000)));
        assert!(range(home, UploadId::new(9)).contains(&key));
        assert!(!range(home, UploadId::new(8)).contains(&key));
    }

    proptest! {
        #[test]
        fn round_trip(
            numbers in any::<(u64, u128, u64)>(),
            checksum in prop::option::of(checksum::testing::values()),
            blob in prop::option::of(location::testing::locations()),
        ) {
            let (len, md5, ms) = numbers;
            let md5 = md5.to_be_bytes();
            round_trips(&Part { len, md5, last_modified: UnixMillis(ms), checksum, blob });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Part::decode(&value), parse_key(&value));
        }
    }
}
