//! The codec that all records share: one byte of format version, then a protobuf message.

use bytes::Bytes;

/// A value that is not what its key says, or of a format that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored {0} record cannot be read")]
pub struct Undecodable(pub &'static str);

impl From<Undecodable> for crate::error::Failure {
    fn from(error: Undecodable) -> Self {
        Self::Damaged(error.0)
    }
}

/// A record: a value with a versioned codec.
pub trait Record: Sized {
    /// What it is, for errors.
    const NAME: &'static str;

    /// The stored form.
    fn encode(&self) -> Bytes;

    /// From the stored form; never panics, whatever the bytes.
    ///
    /// # Errors
    /// When the bytes are not a record of this type, or of an unknown version.
    fn decode(value: &[u8]) -> Result<Self, Undecodable>;
}

/// `version`, then `message`.
pub(crate) fn seal(version: u8, message: &impl prost::Message) -> Bytes {
    let mut value = Vec::with_capacity(1 + message.encoded_len());
    value.push(version);
    // A vector grows, so this cannot run out of room.
    let _ = message.encode(&mut value);
    value.into()
}

/// Reads what [`seal`] wrote, if it is of `version`.
pub(crate) fn open<M: prost::Message + Default>(
    name: &'static str,
    version: u8,
    value: &[u8],
) -> Result<M, Undecodable> {
    match value.split_first() {
        Some((&found, message)) if found == version => {
            M::decode(message).map_err(|_| Undecodable(name))
        }
        _ => Err(Undecodable(name)),
    }
}

/// Splits 128 bits into the two fixed-width fields that messages carry them in: no allocation.
pub(crate) fn halves(value: u128) -> (u64, u64) {
    ((value >> 64) as u64, value as u64)
}

/// Undoes [`halves`].
pub(crate) fn whole(high: u64, low: u64) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::fmt::Debug;

    use super::*;

    /// The stored form reads back as the same.
    pub(crate) fn round_trips<R: Record + PartialEq + Debug>(record: &R) {
        let value = record.encode();
        assert_eq!(R::decode(&value).as_ref(), Ok(record));
        // Neither a cut value nor one of another version may pass for something else by panic.
        for cut in 0..value.len() {
            let _ = R::decode(&value[..cut]);
        }
        let mut other = value.to_vec();
        other[0] = 0xee;
        assert_eq!(R::decode(&other), Err(Undecodable(R::NAME)));
        assert_eq!(R::decode(&[]), Err(Undecodable(R::NAME)));
    }

    /// The stored form is exactly this: a change of it is a change of the format.
    pub(crate) fn golden<R: Record + PartialEq + Debug>(record: &R, hex: &str) {
        let found: String = record.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, hex, "the stored form of {} has changed", R::NAME);
        round_trips(record);
    }
}
