//! A blob: the truth about where its shards are. Repair and rebalancing commit new places under its revision;
//! the collector deletes it, and its shards afterwards, when nothing references it.
//!
//! Key: [`Kind::Blob`], `blob id (16)`.

use bytes::Bytes;
use kv::Key;
use types::{BlobId, UnixMillis};

use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};
use super::{BlobLocation, Kind, location};

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where its shards are.
    pub location: BlobLocation,
    /// When it was written.
    pub created_at: UnixMillis,
}

/// The record's key.
pub fn key(home: Home, id: BlobId) -> Key {
    key::build(home.token(), Kind::Blob, &[&id.to_bytes()])
}

/// Which blob a key is of.
pub fn parse_key(key: &[u8]) -> Option<BlobId> {
    key::split_kind(key, Kind::Blob).and_then(|(_, rest)| BlobId::from_slice(rest))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(message, optional, tag = "1")]
    location: Option<location::Wire>,
    #[prost(uint64, tag = "2")]
    created_at_ms: u64,
}

impl Record for Blob {
    const NAME: &'static str = "blob";

    fn encode(&self) -> Bytes {
        let location = Some(self.location.to_wire());
        codec::seal(1, &Wire { location, created_at_ms: self.created_at.0 })
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        let location = wire.location.as_ref().and_then(BlobLocation::from_wire);
        Ok(Self {
            location: location.ok_or(Undecodable(Self::NAME))?,
            created_at: UnixMillis(wire.created_at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{BucketId, SessionId};

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};
    use crate::schema::location;

    #[test]
    fn golden_bytes() {
        let record = Blob {
            location: location::testing::sample(),
            created_at: UnixMillis(1_700_000_000_123),
        };
        golden(
            &record,
            "010a4a092211000000000000100718022001280130a08d063a330000000000000000d000000000000000c0\
             0100000000000000d100000000000000c10200000000000000d200000000000000c210fbd095ffbc31",
        );
        let id = BlobId { session: SessionId::new(3), sequence: 4 };
        assert_eq!(parse_key(key(Home::of(BucketId::new(7)), id).as_bytes()), Some(id));
    }

    proptest! {
        #[test]
        fn round_trip(location in location::testing::locations(), ms: u64) {
            round_trips(&Blob { location, created_at: UnixMillis(ms) });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Blob::decode(&value), parse_key(&value));
        }
    }
}
