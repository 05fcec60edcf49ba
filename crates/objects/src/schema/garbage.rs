//! What may have lost its last reference, filed in the batch that took a reference away. The revision of that
//! batch is in the key: the collector waits until no read that is older is open anywhere. Filed at the home of
//! what it names, which may still be referenced by others.
//!
//! Key: [`Kind::Garbage`], `revision (8), what (1), its id (16)`. What: 0 a blob, 1 a part set, 2 the remainder of
//! a part set (the parts that its manifest does not include), 3 copies of a blob that its record, if it still has
//! one, no longer names.
//!
//! A blob or part set may be filed several times, once for each reference that it lost. That none is left when the
//! collector looks does not say when the last one went: a read that found it may still be open. So the collector
//! files it once more, *unreferenced* as of that later revision, and waits again.

use bytes::Bytes;
use kv::Key;
use types::{BlobId, BucketId, Revision, UnixMillis, UploadId};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};
use super::location::{self, CopyPlace};
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
    /// Copies of a blob that nothing names any more: the record lists them.
    Copies(BlobId),
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
            Self::Blob(id) | Self::Copies(id) => Target::Blob(id).to_bytes(),
            Self::PartSet(id) | Self::Remainder(id) => Target::PartSet(id).to_bytes(),
        };
        match self {
            Self::Blob(_) | Self::PartSet(_) => {}
            Self::Remainder(_) => suffix[0] = 2,
            Self::Copies(_) => suffix[0] = 3,
        }
        Bytes::copy_from_slice(&suffix)
    }

    fn parse(suffix: &[u8]) -> Option<Self> {
        match suffix.split_first() {
            Some((2, id)) => UploadId::from_slice(id).map(Self::Remainder),
            Some((3, id)) => BlobId::from_slice(id).map(Self::Copies),
            _ => reference::parse_target(suffix).map(Self::from),
        }
    }
}

/// The circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// The bucket that is its home.
    pub home: BucketId,
    /// When it was filed, for people.
    pub filed_at: UnixMillis,
    /// Of a blob or part set: the collector has seen that nothing references it any more.
    pub unreferenced: bool,
    /// Of [`Candidate::Copies`]: which.
    pub copies: Vec<CopyPlace>,
}

impl Garbage {
    /// What has lost a reference.
    pub fn filed(home: Home, filed_at: UnixMillis) -> Self {
        Self { home: home.bucket(), filed_at, unreferenced: false, copies: Vec::new() }
    }
}

/// What the keys of all garbage of a token begin with: the revision and the candidate follow.
pub fn prefix(home: Home) -> Key {
    key::build(home.token(), Kind::Garbage, &[])
}

/// The record's key, once its revision is known.
pub fn key(home: Home, filed: Revision, candidate: Candidate) -> Key {
    let parts: [&[u8]; 2] = [&filed.0.to_be_bytes(), &candidate.suffix()];
    key::build(home.token(), Kind::Garbage, &parts)
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
    #[prost(bool, tag = "3")]
    unreferenced: bool,
    #[prost(bytes = "vec", tag = "4")]
    copies: Vec<u8>,
}

impl Record for Garbage {
    const NAME: &'static str = "garbage";

    fn encode(&self) -> Bytes {
        let wire = Wire {
            home: self.home.get(),
            filed_at_ms: self.filed_at.0,
            unreferenced: self.unreferenced,
            copies: location::pack(&self.copies),
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        Ok(Self {
            home: BucketId::new(wire.home),
            filed_at: UnixMillis(wire.filed_at_ms),
            unreferenced: wire.unreferenced,
            copies: location::unpack(&wire.copies).ok_or(Undecodable(Self::NAME))?,
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
        let home = Home::of(BucketId::new(7));
        let record = Garbage::filed(home, UnixMillis(1_700_000_000_123));
        golden(&record, "0109070000000000000010fbd095ffbc31");
        golden(
            &Garbage { unreferenced: true, ..record.clone() },
            "0109070000000000000010fbd095ffbc311801",
        );
        let copies = location::testing::sample().copies[..1].to_vec();
        golden(
            &Garbage { copies, ..record },
            "0109070000000000000010fbd095ffbc3122110000000000000000d000000000000000c0",
        );
    }

    proptest! {
        #[test]
        fn keys_round_trip(revision: u64, a: u64, b: u64, set: u128) {
            let (home, blob) =
                (Home::of(BucketId::new(a)), BlobId { session: SessionId::new(a), sequence: b });
            for candidate in [
                Candidate::Blob(blob),
                Candidate::PartSet(UploadId::new(set)),
                Candidate::Remainder(UploadId::new(set)),
                Candidate::Copies(blob),
            ] {
                let key = key(home, Revision(revision), candidate);
                prop_assert!(key.as_bytes().starts_with(prefix(home).as_bytes()));
                prop_assert_eq!(parse_key(key.as_bytes()), Some((Revision(revision), candidate)));
            }
        }

        #[test]
        fn round_trip(
            home: u64,
            ms: u64,
            unreferenced: bool,
            location in location::testing::locations(),
        ) {
            let record = Garbage::filed(Home::of(BucketId::new(home)), UnixMillis(ms));
            round_trips(&Garbage { unreferenced, copies: location.copies, ..record });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Garbage::decode(&value), parse_key(&value));
        }
    }
}
