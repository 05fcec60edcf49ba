//! Checksums that S3 knows: computed in the one pass over the bytes, and put together from those of parts.

mod combine;
mod hasher;

pub(crate) use combine::{combine, composite, multipart_etag};
pub(crate) use hasher::{Digests, Hasher};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// Over what a multipart object's checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumKind {
    /// The whole object's bytes.
    FullObject,
    /// The parts' checksums, one behind the other.
    Composite,
}

/// A checksum's value. The bytes are big-endian for the CRCs and have the algorithm's length.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChecksumValue {
    algorithm: ChecksumAlgorithm,
    bytes: Vec<u8>,
}

impl ChecksumAlgorithm {
    /// Length of a value in bytes.
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

impl ChecksumValue {
    /// `None` unless `bytes` has the algorithm's length.
    pub fn new(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.len_bytes()).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    /// From base64, as headers carry it.
    pub fn from_base64(algorithm: ChecksumAlgorithm, text: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        Self::new(algorithm, &bytes)
    }

    /// To base64.
    pub fn to_base64(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&self.bytes)
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
