//! That a blob has fewer whole shards than it should, filed by the write that could not place them all or by whoever
//! missed one. Several may stand for one blob, and each may be out of date or wrong about the reason: the blob's
//! record and the drives say what is true. Not here: filing (`damage`) and repairing (`repair`).
//!
//! Key: [`Kind::Repair`], `margin (1), blob id (16)`. The margin is how many more shards may be lost before bytes
//! are: the smallest comes first.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{BlobId, BucketId, CopyId, Token, UnixMillis};

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
    /// A scrub met damaged copies, or a sweep missed copies that the record names: 4.
    Scrub,
}

/// What was wrong with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Bytes of it did not verify or could not be read: 1.
    Corrupt,
    /// Its drive was there and did not have it: 2.
    Missing,
    /// Its drive was away: 3.
    Away,
}

/// A copy that was missed: this one, and no later copy of the same shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missed {
    /// Which shard.
    pub index: u8,
    /// Which physical copy.
    pub copy: CopyId,
    /// Why.
    pub fault: Fault,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The bucket that is the blob's home.
    pub home: BucketId,
    /// Why.
    pub reason: Reason,
    /// Shard indexes without a whole copy, as far as was known.
    pub missed: Vec<u8>,
    /// When.
    pub filed_at: UnixMillis,
    /// The copies of those that the blob's record named; none when a write never made them.
    pub copies: Vec<Missed>,
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
    /// Index (1), copy (8), fault (1) of each.
    #[prost(bytes = "vec", tag = "5")]
    copies: Vec<u8>,
}

/// Packed length of one missed copy.
const MISSED_LEN: usize = 1 + CopyId::LEN + 1;

fn pack(copies: &[Missed]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(copies.len() * MISSED_LEN);
    for Missed { index, copy, fault } in copies {
        packed.push(*index);
        packed.extend_from_slice(&copy.to_bytes());
        packed.push(match fault {
            Fault::Corrupt => 1,
            Fault::Missing => 2,
            Fault::Away => 3,
        });
    }
    packed
}

fn unpack(packed: &[u8]) -> Option<Vec<Missed>> {
    let one = |packed: &[u8]| {
        let (&index, rest) = packed.split_first()?;
        let (&fault, copy) = rest.split_last()?;
        let fault = match fault {
            1 => Fault::Corrupt,
            2 => Fault::Missing,
            3 => Fault::Away,
            _ => return None,
        };
        Some(Missed { index, copy: CopyId::from_slice(copy)?, fault })
    };
    if !packed.len().is_multiple_of(MISSED_LEN) {
        return None;
    }
    packed.chunks_exact(MISSED_LEN).map(one).collect()
}

impl Record for Repair {
    const NAME: &'static str = "repair";

    fn encode(&self) -> Bytes {
        let reason = match self.reason {
            Reason::DegradedWrite => 1,
            Reason::SmallGeometry => 2,
            Reason::Read => 3,
            Reason::Scrub => 4,
        };
        let wire = Wire {
            home: self.home.get(),
            reason,
            missed: self.missed.clone(),
            filed_at_ms: self.filed_at.0,
            copies: pack(&self.copies),
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        let reason = match wire.reason {
            1 => Reason::DegradedWrite,
            2 => Reason::SmallGeometry,
            3 => Reason::Read,
            4 => Reason::Scrub,
            _ => return Err(Undecodable(Self::NAME)),
        };
        Ok(Self {
            home: BucketId::new(wire.home),
            reason,
            missed: wire.missed,
            filed_at: UnixMillis(wire.filed_at_ms),
            copies: unpack(&wire.copies).ok_or(Undecodable(Self::NAME))?,
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
            copies: Vec::new(),
        };
        // As filed before tasks named copies.
        golden(&record, "0109070000000000000010031a02010420fbd095ffbc31");
        let copies = vec![
            Missed { index: 1, copy: CopyId::new(0xc1), fault: Fault::Corrupt },
            Missed { index: 4, copy: CopyId::new(0xc4), fault: Fault::Missing },
        ];
        golden(
            &Repair { reason: Reason::Scrub, copies, ..record.clone() },
            "0109070000000000000010041a02010420fbd095ffbc31\
             2a140100000000000000c1010400000000000000c402",
        );
        let (home, id) =
            (Home::of(record.home), BlobId { session: SessionId::new(1), sequence: 2 });
        let key = key(home, 3, id);
        assert_eq!(parse_key(key.as_bytes()), Some((3, id)));
        assert!(range(home.token()).contains(&key));
    }

    proptest! {
        #[test]
        fn round_trip(
            home: u64,
            code in 0_usize..4,
            missed: Vec<u8>,
            ms: u64,
            named in prop::collection::vec((any::<u8>(), any::<u64>(), 0_usize..3), 0..5),
        ) {
            let reasons =
                [Reason::DegradedWrite, Reason::SmallGeometry, Reason::Read, Reason::Scrub];
            let (home, filed_at) = (BucketId::new(home), UnixMillis(ms));
            let faults = [Fault::Corrupt, Fault::Missing, Fault::Away];
            let copy = |(index, copy, fault): (u8, u64, usize)| {
                Missed { index, copy: CopyId::new(copy), fault: faults[fault] }
            };
            let copies = named.into_iter().map(copy).collect();
            round_trips(&Repair { home, reason: reasons[code], missed, filed_at, copies });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Repair::decode(&value), parse_key(&value));
        }
    }
}
