//! An upload's pulse: put by every change of a part, so that completing an upload can guard that the parts are
//! still those that it has read, with one guard instead of ten thousand. Deleted with the upload.
//!
//! Key: [`Kind::Pulse`], `upload id (16)`.

use bytes::Bytes;
use kv::Key;
use types::{UnixMillis, UploadId};

use super::Kind;
use super::codec::{self, Record, Undecodable};
use super::key::{self, Home};

/// A pulse. Its revision is what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// When a part last changed.
    pub at: UnixMillis,
}

/// The record's key.
pub fn key(home: Home, upload: UploadId) -> Key {
    key::build(home.token(), Kind::Pulse, &[&upload.to_bytes()])
}

/// Which upload a key is of.
pub fn parse_key(key: &[u8]) -> Option<UploadId> {
    key::split_kind(key, Kind::Pulse).and_then(|(_, rest)| UploadId::from_slice(rest))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint64, tag = "1")]
    at_ms: u64,
}

impl Record for Pulse {
    const NAME: &'static str = "pulse";

    fn encode(&self) -> Bytes {
        codec::seal(1, &Wire { at_ms: self.at.0 })
    }

    fn decode(value: &[u8]) -> Result<Self, Undecodable> {
        let wire: Wire = codec::open(Self::NAME, 1, value)?;
        Ok(Self { at: UnixMillis(wire.at_ms) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::BucketId;

    use super::*;
    use crate::schema::codec::testing::{golden, round_trips};

    #[test]
    fn golden_bytes() {
        golden(&Pulse { at: UnixMillis(1_700_000_000_123) }, "0108fbd095ffbc31");
        let key = key(Home::of(BucketId::new(7)), UploadId::new(9));
        assert_eq!(parse_key(key.as_bytes()), Some(UploadId::new(9)));
    }

    proptest! {
        #[test]
        fn round_trip(ms: u64) {
            round_trips(&Pulse { at: UnixMillis(ms) });
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..32)) {
            let _ = (Pulse::decode(&value), parse_key(&value));
        }
    }
}
