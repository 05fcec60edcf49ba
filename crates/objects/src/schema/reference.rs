//! That an object or a part uses a blob or a part set. A blob or part set without any is garbage: the collector
//! guards that the range of its references is empty.
//!
//! Key: [`Kind::Reference`], `what (1), its id (16), owner kind (1), owner id (16) [, part number (2)]`, under the
//! home of what is used.

use bytes::Bytes;
use kv::{Key, KeyRange};
use types::{BlobId, BucketId, UploadId, VersionId};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A blob: 0.
    Blob(BlobId),
    /// The part set of a completed upload: 1.
    PartSet(UploadId),
}

impl Target {
    /// Kind byte and id, as keys carry them.
    pub(crate) fn to_bytes(self) -> [u8; 17] {
        let (kind, id) = match self {
            Self::Blob(id) => (0, id.to_bytes()),
            Self::PartSet(id) => (1, id.to_bytes()),
        };
        let mut bytes = [kind; 17];
        bytes[1..].copy_from_slice(&id);
        bytes
    }

    /// Takes one from the front.
    fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(17)?;
        let (&kind, id) = head.split_first()?;
        let target = match kind {
            0 => Self::Blob(BlobId::from_slice(id)?),
            1 => Self::PartSet(UploadId::from_slice(id)?),
            _ => return None,
        };
        Some((target, rest))
    }
}

/// Who uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A version of an object: 0.
    Version(VersionId),
    /// A part, of an upload or of a part set: 1.
    Part(UploadId, u16),
}

impl Owner {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(19);
        match self {
            Self::Version(id) => {
                bytes.push(0);
                bytes.extend_from_slice(&id.to_bytes());
            }
            Self::Part(id, number) => {
                bytes.push(1);
                bytes.extend_from_slice(&id.to_bytes());
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            0 => VersionId::from_slice(rest).map(Self::Version),
            1 => {
                let (id, number) = rest.split_at_checked(UploadId::LEN)?;
                let number = u16::from_be_bytes(number.try_into().ok()?);
                Some(Self::Part(UploadId::from_slice(id)?, number))
            }
            _ => None,
        }
    }
}

/// Where the owner is, for checks and for telling people what is damaged: the key says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The owner's bucket.
    pub bucket: BucketId,
    /// The owner's object key (for a part: that of its upload).
    pub key: String,
}

/// The record's key.
pub fn key(home: Home, target: Target, owner: Owner) -> Key {
    key::build(home.token(), Kind::Reference, &[&target.to_bytes(), &owner.to_bytes()])
}

/// All references to `target`.
pub fn range(home: Home, target: Target) -> KeyRange {
    key::range(home.token(), Kind::Reference, &[&target.to_bytes()])
}

/// What is used by whom, from a key.
pub fn parse_key(key: &[u8]) -> Option<(Target, Owner)> {
    let (_, rest) = key::split_kind(key, Kind::Reference)?;
    let (target, owner) = Target::take(rest)?;
    Some((target, Owner::parse(owner)?))
}

/// What a key's remainder names, as [`Target::to_bytes`] wrote it and nothing else.
pub(crate) fn parse_target(bytes: &[u8]) -> Option<Target> {
    Target::take(bytes).filter(|(_, rest)| rest.is_empty()).map(|(target, _)| target)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(fixed64, tag = "1")]
    bucket: u64,
    #[prost(string, tag = "2")]
    key: String,
}

impl Record for Reference {
    const NAME: &'static str = "reference";

    fn encode(&self) -> Bytes {
        codec::seal(1, &Wire { bucket: self.bucket.get(), key: self.key.clone() })
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        Ok(Self { bucket: BucketId::new(wire.bucket), key: wire.key })
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
        golden(
            &Reference { bucket: BucketId::new(7), key: "a/b".to_owned() },
            "010907000000000000001203612f62",
        );
        let home = Home::of(BucketId::new(7));
        let blob = Target::Blob(BlobId { session: SessionId::new(1), sequence: 2 });
        let part = key(home, blob, Owner::Part(UploadId::new(3), 4));
        let tail: String = part.as_bytes()[5..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            tail,
            "310000000000000000010000000000000002010000000000000000000000000000000300 04"
                .replace(' ', "")
        );
    }

    proptest! {
        #[test]
        fn keys_round_trip(a: u64, b: u64, set: u128, owner: u128, number: u16) {
            let home = Home::of(BucketId::new(a));
            let targets = [
                Target::Blob(BlobId { session: SessionId::new(a), sequence: b }),
                Target::PartSet(UploadId::new(set)),
            ];
            for target in targets {
                prop_assert_eq!(parse_target(&target.to_bytes()), Some(target));
                let owners =
                    [Owner::Version(VersionId::new(owner)), Owner::Part(UploadId::new(owner), number)];
                for owner in owners {
                    let key = key(home, target, owner);
                    prop_assert!(range(home, target).contains(&key));
                    prop_assert_eq!(parse_key(key.as_bytes()), Some((target, owner)));
                }
            }
        }

        #[test]
        fn round_trip(bucket: u64, key in "\\PC{0,40}") {
            round_trips(&Reference { bucket: BucketId::new(bucket), key });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Reference::decode(&value), parse_key(&value));
        }
    }
}
