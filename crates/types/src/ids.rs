//! Ids: fixed-width, order-preserving as bytes, printed as hex.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not the id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident($int:ty), $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Length of the binary form in bytes.
            pub const LEN: usize = $len;

            /// Wraps the integer form.
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The integer form.
            pub const fn get(self) -> $int {
                self.0
            }

            /// The binary form: big-endian, so that byte order is numeric order.
            pub const fn to_bytes(self) -> [u8; $len] {
                self.0.to_be_bytes()
            }

            /// From the binary form.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(<$int>::from_be_bytes(bytes))
            }

            /// From a slice of exactly [`Self::LEN`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:0width$x}", self.0, width = 2 * $len)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId { what: stringify!($name), text: text.chars().take(64).collect() };
                if text.len() != 2 * $len || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                <$int>::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// A bucket, for as long as it exists; a new bucket of the same name has another id. Random.
    BucketId(u64), 8
);
hex_id!(
    /// One writer session of one process: the fence of collection. Random, never reused.
    SessionId(u64), 8
);
hex_id!(
    /// One physical copy of one shard. Random; it stands in the shard's header, in the blob record and in
    /// every delete, so that a late delete can never remove a copy that has since moved back.
    CopyId(u64), 8
);
hex_id!(
    /// A drive. Random, written into the drive's identity file when it is first used.
    DriveId(u64), 8
);
hex_id!(
    /// A node (a process that owns drives).
    NodeId(u64), 8
);
hex_id!(
    /// A multipart upload, and for ever after the part set that it made. Random.
    UploadId(u128), 16
);
hex_id!(
    /// One version of one object: fresh for every write, including copies. It owns references. Random.
    VersionId(u128), 16
);

/// A blob: the writer session that made it, and its number within that session.
///
/// The session part is what lets a collector prove that a shard without a record will never get one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    /// The writer session that wrote the shards.
    pub session: SessionId,
    /// Counts up from 1 within the session.
    pub sequence: u64,
}

impl BlobId {
    /// Length of the binary form in bytes.
    pub const LEN: usize = 16;

    /// The binary form: session, then sequence, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.session.to_bytes());
        bytes[8..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// From the binary form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { session: SessionId::new((value >> 64) as u64), sequence: value as u64 }
    }

    /// From a slice of exactly [`Self::LEN`] bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.session, self.sequence)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

/// A commit's identity: repeating a batch under the same id never doubles its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// The writer session that commits.
    pub session: SessionId,
    /// Counts up from 1 within the session.
    pub sequence: u64,
}

/// A commit revision of the key-value store: global, strictly rising, never reused. Zero is before all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC. For people and protocols; never for order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Whole seconds since 1970-01-01 UTC.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// An account (a tenant): twelve decimal digits, as in an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    const END: u64 = 1_000_000_000_000;

    /// From its number.
    pub const fn new(number: u64) -> Option<Self> {
        if number < Self::END { Some(Self(number)) } else { None }
    }

    /// Its number, below 10^12.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl FromStr for AccountId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { what: "AccountId", text: text.chars().take(64).collect() };
        if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        text.parse().ok().and_then(Self::new).ok_or_else(invalid)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let id = BucketId::new(0x1f);
        assert_eq!(id.to_string(), "000000000000001f");
        assert_eq!(id.to_string().parse::<BucketId>(), Ok(id));
        let upload = UploadId::new(u128::MAX - 1);
        assert_eq!(upload.to_string().parse::<UploadId>(), Ok(upload));
        let account: AccountId = "000000000042".parse().expect("twelve digits");
        assert_eq!((account.get(), account.to_string().as_str()), (42, "000000000042"));
    }

    #[test]
    fn wrong_text_is_refused() {
        for text in ["", "1f", "000000000000001g", "+00000000000001f", "0000000000000001f"] {
            assert!(text.parse::<BucketId>().is_err(), "{text}");
        }
        for text in ["", "1", "00000000004a", "+00000000042", "1000000000000"] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }

    #[test]
    fn blob_id_orders_by_session_then_sequence() {
        let blob = |s, q| BlobId { session: SessionId::new(s), sequence: q };
        assert!(blob(1, u64::MAX).to_bytes() < blob(2, 0).to_bytes());
        assert_eq!(BlobId::from_bytes(blob(7, 9).to_bytes()), blob(7, 9));
    }
}
