//! The bucket's own record. Every write into a bucket guards its revision, so that none lands in a bucket that
//! has just been deleted.
//!
//! Key: [`Kind::Bucket`], `bucket id (8)`.

use bytes::Bytes;
use kv::Key;
use types::{AccountId, BucketId, BucketName, UnixMillis};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// Who owns it.
    pub owner: AccountId,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// The record's key.
pub fn key(home: Home) -> Key {
    key::build(home.token(), Kind::Bucket, &[&home.bucket().to_bytes()])
}

/// Which bucket a key is of.
pub fn parse_key(key: &[u8]) -> Option<BucketId> {
    key::split_kind(key, Kind::Bucket).and_then(|(_, rest)| BucketId::from_slice(rest))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    owner: u64,
    #[prost(uint64, tag = "3")]
    created_at_ms: u64,
}

impl Record for Bucket {
    const NAME: &'static str = "bucket";

    fn encode(&self) -> Bytes {
        let wire = Wire {
            name: self.name.as_str().to_owned(),
            owner: self.owner.get(),
            created_at_ms: self.created_at.0,
        };
        codec::seal(1, &wire)
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        Ok(Self {
            name: BucketName::new(&wire.name).map_err(|_| Undecodable(Self::NAME))?,
            owner: AccountId::new(wire.owner).ok_or(Undecodable(Self::NAME))?,
            created_at: UnixMillis(wire.created_at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};

    #[test]
    fn golden_bytes() {
        let record = Bucket {
            name: BucketName::new("photos").expect("a name"),
            owner: AccountId::new(42).expect("an account"),
            created_at: UnixMillis(1_700_000_000_123),
        };
        golden(&record, "010a0670686f746f73102a18fbd095ffbc31");
        let home = Home::of(BucketId::new(7));
        assert_eq!(parse_key(key(home).as_bytes()), Some(home.bucket()));
        assert_eq!(key(home).as_bytes()[5..], [1, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    proptest! {
        #[test]
        fn round_trip(name in "[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", owner in 0_u64..1_000_000_000_000, ms: u64) {
            if let Ok(name) = BucketName::new(&name) {
                let owner = AccountId::new(owner).expect("an account");
                round_trips(&Bucket { name, owner, created_at: UnixMillis(ms) });
            }
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Bucket::decode(&value), parse_key(&value));
        }
    }
}
