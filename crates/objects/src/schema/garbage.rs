//! What may have lost its last reference, filed in the batch that took a reference away. The revision of that
//! batch is in the key: the collector waits until no read that is older is open anywhere. Filed at the home of
//! what it names, which may still be referenced by others.
//!
//! Key: [`Kind::Garbage`], `revision (8), what (1), its id (16)`. What: 0 a blob, 1 a part set, 2 the remainder of
//! a part set (the parts that its manifest does not include).

use bytes::Bytes;
use kv::Key;
use types::{BlobId, BucketId, Revision, UnixMillis, UploadId};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};
use super::reference::{self, Target};

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Candidate {
    /// A blob that may be unreferenced.
    Blob(BlobId),
    /// A part set, or the parts of an aborted upload: all of them when there is no manifest and no reference.
    PartSet(UploadId),
    /// The parts that a completed upload left out.
    Remainder(UploadId),
}

impl From<Target> for Candidate {
    fn from(target: Target) -> Self {
        match target {
            Target::Blob(id) => Self::Blob(id),
            Target::PartSet(id) => Self::PartSet(id),
        }
    }
}

impl Candidate {
    /// What follows the revision in a key.
    pub fn suffix(self) -> Bytes {
        let mut suffix = match self {
            Self::Blob(id) => Target::Blob(id).to_bytes(),
            Self::PartSet(id) | Self::Remainder(id) => Target::PartSet(id).to_bytes(),
        };
        if let Self::Remainder(_) = self {
            suffix[0] = 2;
        }
        Bytes::copy_from_slice(&suffix)
    }

    fn parse(suffix: &[u8]) -> Option<Self> {
        match suffix.split_first() {
            Some((2, id)) => UploadId::from_slice(id).map(Self::Remainder),
            _ => reference::parse_target(suffix).map(Self::from),
        }
    }
}

/// The circumstances, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// The bucket that is its home.
    pub home: BucketId,
    /// When it was filed.
    pub filed_at: UnixMillis,
}

/// What the keys of all garbage of a token begin with: the revision and the candidate follow.
pub fn prefix(home: Home) -> Key {
    key::build(home.token(), Kind::Garbage, &[])
}

/// When what was filed, from a key.
pub fn parse_key(key: &[u8]) -> Option<(Revision, Candidate)> {
    let (_, rest) = key::split_kind(key, Kind::Garbage)?;
    let (revision, suffix) = rest.split_at_checked(8)?;
    let revision = Revision(u64::from_be_bytes(revision.try_into().ok()?));
    Some((revision, Candidate::parse(suffix)?))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(fixed64, tag = "1")]
    home: u64,
    #[prost(uint64, tag = "2")]
    filed_at_ms: u64,
}

impl Record for Garbage {
    const NAME: &'static str = "garbage";

    fn encode(&self) -> Bytes {
        codec::seal(1, &Wire { home: self.home.get(), filed_at_ms: self.filed_at.0 })
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        Ok(Self { home: BucketId::new(wire.home), filed_at: UnixMillis(wire.filed_at_ms) })
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
        let record = Garbage { home: BucketId::new(7), filed_at: UnixMillis(1_700_000_000_123) };
        golden(&record, "0109070000000000000010fbd095ffbc31");
    }

    proptest! {
        #[test]
        fn keys_round_trip(revision: u64, a: u64, b: u64, set: u128) {
            for candidate in [
                Candidate::Blob(BlobId { session: SessionId::new(a), sequence: b }),
                Candidate::PartSet(UploadId::new(set)),
                Candidate::Remainder(UploadId::new(set)),
            ] {
                let mut key = prefix(Home::of(BucketId::new(a))).as_bytes().to_vec();
                key.extend_from_slice(&revision.to_be_bytes());
                key.extend_from_slice(&candidate.suffix());
                prop_assert_eq!(parse_key(&key), Some((Revision(revision), candidate)));
            }
        }

        #[test]
        fn round_trip(home: u64, ms: u64) {
            round_trips(&Garbage { home: BucketId::new(home), filed_at: UnixMillis(ms) });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Garbage::decode(&value), parse_key(&value));
        }
    }
}
