//! How keys are put together and taken apart.

use kv::{Key, KeyRange};
use types::{BucketId, Token, limits};

use super::Kind;

/// Bytes in front of what a kind says: the space, the token and the kind.
pub(crate) const HEAD_LEN: usize = 1 + Token::LEN + 1;

// The longest parts: an escaped object key, or one that a listing was asked to begin at, and ids.
const _: () =
    assert!(HEAD_LEN + 2 * (limits::OBJECT_KEY_MAX_BYTES + 1) + 64 <= limits::KV_KEY_MAX_BYTES);

/// The bucket under which records live, and its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    bucket: BucketId,
    token: Token,
}

impl Home {
    /// The home that `bucket` is.
    pub fn of(bucket: BucketId) -> Self {
        Self { bucket, token: Token::of(&bucket.to_bytes()) }
    }

    /// The bucket.
    pub fn bucket(self) -> BucketId {
        self.bucket
    }

    /// Its token.
    pub fn token(self) -> Token {
        self.token
    }
}

/// The key of `kind` under `token` that `parts` make, one behind the other. They are of bounded length.
#[allow(clippy::expect_used, reason = "the longest key fits: asserted above at compile time")]
pub(crate) fn build(token: Token, kind: Kind, parts: &[&[u8]]) -> Key {
    let mut bytes = Vec::with_capacity(HEAD_LEN + parts.iter().map(|p| p.len()).sum::<usize>());
    bytes.push(kv::DATA_SPACE);
    bytes.extend_from_slice(&token.to_bytes());
    bytes.push(kind.byte());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Key::new(bytes).expect("a key of bounded parts")
}

/// All keys of `kind` under `token` that begin with `parts`.
pub(crate) fn range(token: Token, kind: Kind, parts: &[&[u8]]) -> KeyRange {
    KeyRange::prefix(&build(token, kind, parts))
}

/// All keys of `kind` under `token`.
pub(crate) fn kind_range(token: Token, kind: Kind) -> KeyRange {
    range(token, kind, &[])
}

/// Takes a data key apart: its token, its kind, and the rest.
pub(crate) fn split(key: &[u8]) -> Option<(Token, Kind, &[u8])> {
    let (head, rest) = key.split_at_checked(HEAD_LEN)?;
    let (&space, head) = head.split_first()?;
    let (&kind, token) = head.split_last()?;
    let token = Token(u32::from_be_bytes(token.try_into().ok()?));
    (space == kv::DATA_SPACE).then_some((token, Kind::from_byte(kind)?, rest))
}

/// As [`split`], for a key that must be of `kind`.
pub(crate) fn split_kind(key: &[u8], kind: Kind) -> Option<(Token, &[u8])> {
    split(key).filter(|&(_, found, _)| found == kind).map(|(token, _, rest)| (token, rest))
}

/// The token and kind of a data key; `None` for keys of other spaces and unknown kinds.
pub fn kind_of(key: &[u8]) -> Option<(Token, Kind)> {
    split(key).map(|(token, kind, _)| (token, kind))
}

/// Takes an id of 8 bytes from the front.
pub(crate) fn take_bucket(rest: &[u8]) -> Option<(BucketId, &[u8])> {
    let (id, rest) = rest.split_at_checked(BucketId::LEN)?;
    Some((BucketId::from_slice(id)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_head_of_a_key_is_space_token_and_kind() {
        let home = Home::of(BucketId::new(1));
        let key = build(home.token(), Kind::Blob, &[b"ab", b"c"]);
        let mut golden = vec![b't'];
        golden.extend_from_slice(&Token::of(&[0, 0, 0, 0, 0, 0, 0, 1]).to_bytes());
        golden.extend_from_slice(b"\x30abc");
        assert_eq!(key.as_bytes(), golden);
        assert_eq!(split(key.as_bytes()), Some((home.token(), Kind::Blob, &b"abc"[..])));
        assert!(split_kind(key.as_bytes(), Kind::Part).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_panic(key in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = kind_of(&key);
        }
    }
}
