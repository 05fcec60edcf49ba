//! Every record of the object engine: one file each, with its key, its codec and its golden bytes.
//!
//! [`Kind`] documents the whole key space. A key is `t`, the token of a bucket (4 bytes), a kind (1 byte),
//! and what the kind's file says. The token is always that of the bucket under which the thing was first
//! written, its *home*: a blob or part set that a copy shares stays at home, and so do its references and
//! garbage records, wherever the objects that point to it are.
//!
//! A value is one byte of format version, then a protobuf message (bodies excepted: see [`body`]). Unknown
//! fields are skipped and unknown versions refused. Not here: what the records are used for.

pub mod blob;
pub mod body;
pub mod bucket;
mod checksum;
mod codec;
pub mod counter;
mod etag;
pub mod garbage;
mod headers;
pub mod hold;
mod key;
pub(crate) mod location;
pub mod manifest;
pub mod object;
pub mod part;
pub mod pulse;
pub mod reference;
pub mod repair;
pub mod scrub;
pub mod upload;

pub use codec::{Record, Undecodable};
pub use etag::Etag;
pub(crate) use key::kind_range;
pub use key::{Home, kind_of};
pub use location::{BlobLocation, CopyPlace};

/// What a key is of: the byte behind the token. This is the whole key space of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A bucket: `bucket id (8)`. Every write into the bucket guards its revision. See [`bucket`].
    Bucket = 0x01,
    /// A counter of a bucket: `bucket id (8), which (1)`. See [`counter`].
    Counter = 0x02,
    /// The current object of a key: `bucket id (8), key (raw)`. See [`object`].
    Current = 0x10,
    /// The body of a small current object: as [`Kind::Current`]. See [`body`].
    CurrentBody = 0x11,
    /// Reserved for noncurrent versions and delete markers.
    Noncurrent = 0x12,
    /// An upload in progress: `bucket id (8), key (escaped), upload id (16)`. See [`upload`].
    Upload = 0x20,
    /// Changes whenever a part of an upload does: `upload id (16)`. See [`pulse`].
    Pulse = 0x21,
    /// A part, for as long as its part set lives: `upload id (16), number (2)`. See [`part`].
    Part = 0x22,
    /// What a completed upload is made of: `upload id (16)`. See [`manifest`].
    Manifest = 0x23,
    /// The body of a small part: as [`Kind::Part`]. See [`body`].
    PartBody = 0x24,
    /// A blob, the truth about where its shards are: `blob id (16)`. See [`blob`].
    Blob = 0x30,
    /// Who uses a blob or part set: `what (1), its id (16), owner kind (1), owner id (16) [, part (2)]`.
    /// See [`reference`].
    Reference = 0x31,
    /// What may have lost its last reference: `revision (8), what (1), its id (16)`. See [`garbage`].
    Garbage = 0x40,
    /// A blob that has fewer whole shards than it should: `margin (1), blob id (16)`. See [`repair`].
    Repair = 0x50,
}

impl Kind {
    /// All kinds, in the order of their bytes.
    pub const ALL: [Self; 14] = [
        Self::Bucket,
        Self::Counter,
        Self::Current,
        Self::CurrentBody,
        Self::Noncurrent,
        Self::Upload,
        Self::Pulse,
        Self::Part,
        Self::Manifest,
        Self::PartBody,
        Self::Blob,
        Self::Reference,
        Self::Garbage,
        Self::Repair,
    ];

    /// Its byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// From its byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_and_in_order() {
        assert!(Kind::ALL.windows(2).all(|pair| pair[0].byte() < pair[1].byte()));
        for byte in 0..=255 {
            assert_eq!(Kind::from_byte(byte).map(Kind::byte).unwrap_or(byte), byte);
        }
    }
}
