//! That a blob has fewer whole shards than it should, filed by the write that could not place them all or by the
//! reader that missed one. Several may stand for one blob; the blob's record says what is true.
//!
//! Key: [`Kind::Repair`], `margin (1), blob id (16)`. The margin is how many more shards may be lost before bytes
//! are: the smallest comes first.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{BlobId, BucketId, Token, UnixMillis};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};

/// Why a repair was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The write committed before all shards were durable: 1.
    DegradedWrite,
    /// The write used a smaller geometry than was wanted, because too few drives were up: 2.
    SmallGeometry,
    /// A read missed shards: 3.
    Read,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The bucket that is the blob's home.
    pub home: BucketId,
    /// Why.
    pub reason: Reason,
    /// Shard indexes that were missed.
    pub missed: Vec<u8>,
    /// When.
    pub filed_at: UnixMillis,
}

/// The record's key.
pub fn key(home: Home, margin: u8, id: BlobId) -> Key {
    key::build(home.token(), Kind::Repair, &[&[margin], &id.to_bytes()])
}

/// All tasks under one token.
pub fn range(token: Token) -> KeyRange {
    key::range(token, Kind::Repair, &[])
}

/// Margin and blob, from a key.
pub fn parse_key(key: &[u8]) -> Option<(u8, BlobId)> {
    let (_, rest) = key::split_kind(key, Kind::Repair)?;
    let (&margin, id) = rest.split_first()?;
    Some((margin, BlobId::from_slice(id)?))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(fixed64, tag = "1")]
    home: u64,
    #[prost(uint32, tag = "2")]
    reason: u32,
    #[prost(bytes = "vec", tag = "3")]
    missed: Vec<u8>,
    #[prost(uint64, tag = "4")]
    filed_at_ms: u64,
}

impl Record for Repair {
    const NAME: &'static str = "repair";

    fn encode(&self) -> Bytes {
        let reason = match self.reason {
            Reason::DegradedWrite => 1,
            Reason::SmallGeometry => 2,
            Reason::Read => 3,
        };
        let wire = Wire {
            home: self.home.get(),
            reason,
            missed: self.missed.clone(),
            filed_at_ms: self.filed_at.0,
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        let reason = match wire.reason {
            1 => Reason::DegradedWrite,
            2 => Reason::SmallGeometry,
            3 => Reason::Read,
            _ => return Err(Undecodable(Self::NAME)),
        };
        Ok(Self {
            home: BucketId::new(wire.home),
            reason,
            missed: wire.missed,
            filed_at: UnixMillis(wire.filed_at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::SessionId;

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};

    #[test]
    fn golden_bytes() {
        let record = Repair {
            home: BucketId::new(7),
            reason: Reason::Read,
            missed: vec![1, 4],
            filed_at: UnixMillis(1_700_000_000_123),
        };
        golden(&record, "0109070000000000000010031a02010420fbd095ffbc31");
        let (home, id) =
            (Home::of(record.home), BlobId { session: SessionId::new(1), sequence: 2 });
        let key = key(home, 3, id);
        assert_eq!(parse_key(key.as_bytes()), Some((3, id)));
        assert!(range(home.token()).contains(&key));
    }

    proptest! {
        #[test]
        fn round_trip(home: u64, code in 0_usize..3, missed: Vec<u8>, ms: u64) {
            let reason = [Reason::DegradedWrite, Reason::SmallGeometry, Reason::Read][code];
            let (home, filed_at) = (BucketId::new(home), UnixMillis(ms));
            round_trips(&Repair { home, reason, missed, filed_at });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Repair::decode(&value), parse_key(&value));
        }
    }
}
