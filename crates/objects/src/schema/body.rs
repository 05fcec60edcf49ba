//! Bodies of small objects and parts, beside their records: written and read in the same batch and look-up, so
//! that a listing never drags them along.
//!
//! Keys: [`Kind::CurrentBody`], as the current object's; [`Kind::PartBody`], as the part's.
//!
//! The value is not a protobuf message: format version 1 (1 byte), the CRC-64/NVME of context and body (8 bytes,
//! big-endian), the body. The context is what the body belongs to (a version id, or an upload id and a part
//! number), so that a body beside the wrong record does not verify.

use bytes::{BufMut, Bytes, BytesMut};
use kv::Key;
use types::{UploadId, VersionId};

use super::key::{self, Home};
use super::{Kind, Undecodable};

const NAME: &str = "body";
const VERSION: u8 = 1;
/// Bytes in front of the body.
const HEAD_LEN: usize = 1 + 8;

/// Key of a current object's body.
pub fn current_key(home: Home, key: &str) -> Key {
    key::build(home.token(), Kind::CurrentBody, &[&home.bucket().to_bytes(), key.as_bytes()])
}

/// Key of a part's body.
pub fn part_key(home: Home, upload: UploadId, number: u16) -> Key {
    key::build(home.token(), Kind::PartBody, &[&upload.to_bytes(), &number.to_be_bytes()])
}

/// What a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A version of an object.
    Version(VersionId),
    /// A part of an upload.
    Part(UploadId, u16),
}

/// The stored form of a body.
pub fn seal(context: Context, body: &[u8]) -> Bytes {
    let mut value = BytesMut::with_capacity(HEAD_LEN + body.len());
    value.put_u8(VERSION);
    value.put_u64(crc(context, body));
    value.put_slice(body);
    value.freeze()
}

/// The body in a stored form, sharing its memory, if it verifies in this context.
///
/// # Errors
/// When it does not, or is of an unknown version.
pub fn open(context: Context, value: &Bytes) -> Result<Bytes, Undecodable> {
    let (head, body) = value.split_at_checked(HEAD_LEN).ok_or(Undecodable(NAME))?;
    let mut expected = [0; HEAD_LEN];
    expected[0] = VERSION;
    expected[1..].copy_from_slice(&crc(context, body).to_be_bytes());
    if head == expected { Ok(value.slice(HEAD_LEN..)) } else { Err(Undecodable(NAME)) }
}

fn crc(context: Context, body: &[u8]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    match context {
        Context::Version(id) => digest.update(&id.to_bytes()),
        Context::Part(upload, number) => {
            digest.update(&upload.to_bytes());
            digest.update(&number.to_be_bytes());
        }
    }
    digest.update(body);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::BucketId;

    use super::*;

    #[test]
    fn golden_bytes() {
        let value = seal(Context::Version(VersionId::new(5)), b"hello");
        let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "0190d5f46beb8d598368656c6c6f");
        let home = Home::of(BucketId::new(7));
        assert_eq!(current_key(home, "a/b").as_bytes()[5..], *b"\x11\0\0\0\0\0\0\0\x07a/b");
        let part = part_key(home, UploadId::new(1), 258);
        assert_eq!(part.as_bytes()[5], 0x24);
        assert_eq!(part.as_bytes()[part.as_bytes().len() - 2..], [1, 2]);
    }

    proptest! {
        #[test]
        fn round_trip(id: u128, number: u16, body in prop::collection::vec(any::<u8>(), 0..256), bit: u16) {
            let contexts =
                [Context::Version(VersionId::new(id)), Context::Part(UploadId::new(id), number)];
            for context in contexts {
                let value = seal(context, &body);
                let opened = open(context, &value).expect("verifies");
                prop_assert_eq!(&opened[..], &body[..]);
                prop_assert!(open(Context::Version(VersionId::new(!id)), &value).is_err());
                let mut harmed = value.to_vec();
                let bit = usize::from(bit) % (harmed.len() * 8);
                harmed[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(open(context, &harmed.into()).is_err());
            }
        }

        #[test]
        fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = open(Context::Version(VersionId::new(0)), &value.into());
        }
    }
}
