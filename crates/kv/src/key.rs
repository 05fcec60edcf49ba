//! Keys and ranges of keys.
//!
//! The first byte of a key is its space: [`CONTROL_SPACE`] for control records, whose keys are readable
//! paths (`/buckets/photos`), and [`DATA_SPACE`] for everything that is spread over token ranges:
//! `t`, the 32-bit token, then whatever the owner crate's schema says.

use std::fmt;

use bytes::Bytes;
use types::{Token, limits};

/// First byte of control keys, which are paths.
pub const CONTROL_SPACE: u8 = b'/';
/// First byte of data keys; the four bytes behind it are the token.
pub const DATA_SPACE: u8 = b't';

/// A key that is empty, too long, or in no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: it must begin with `/` or `t` + token and have at most 4096 bytes")]
pub struct InvalidKey;

/// A key: ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Checks and wraps the full bytes of a key.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidKey> {
        let bytes = bytes.into();
        let well_formed = match bytes.first() {
            Some(&CONTROL_SPACE) => true,
            Some(&DATA_SPACE) => bytes.len() > Token::LEN,
            _ => false,
        };
        if well_formed && bytes.len() <= limits::KV_KEY_MAX_BYTES {
            Ok(Self(bytes))
        } else {
            Err(InvalidKey)
        }
    }

    /// A control key from its path, which begins with `/`.
    pub fn control(path: &str) -> Result<Self, InvalidKey> {
        if path.starts_with('/') { Self::new(path.as_bytes().to_vec()) } else { Err(InvalidKey) }
    }

    /// Starts a data key under `token`; the parts behind it are appended in order.
    pub fn data(token: Token, parts: &[&[u8]]) -> Result<Self, InvalidKey> {
        let len = 1 + Token::LEN + parts.iter().map(|p| p.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(len);
        bytes.push(DATA_SPACE);
        bytes.extend_from_slice(&token.to_bytes());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Self::new(bytes)
    }

    /// All bytes, space and token included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// All bytes, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The first key behind this one: the same with a zero byte appended.
    pub fn successor(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Self(bytes.into())
    }

    /// The first key behind all that begin with this one.
    pub fn prefix_end(&self) -> Self {
        let mut bytes = self.0.to_vec();
        // A key's first byte is a space, never 0xff, so this stops before the vector is empty.
        while bytes.last() == Some(&0xff) {
            bytes.pop();
        }
        if let Some(last) = bytes.last_mut() {
            *last += 1;
        }
        Self(bytes.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Keys from `start` on, up to but without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Key,
    end: Key,
}

impl KeyRange {
    /// `None` when nothing can lie between the two.
    pub fn new(start: Key, end: Key) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &Key) -> Self {
        Self { start: prefix.clone(), end: prefix.prefix_end() }
    }

    /// First key that may lie in it.
    pub fn start(&self) -> &Key {
        &self.start
    }

    /// First key behind it.
    pub fn end(&self) -> &Key {
        &self.end
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &Key) -> bool {
        self.start <= *key && *key < self.end
    }

    /// What is left of it from `start` on; `None` when that is nothing.
    pub fn starting_at(&self, start: Key) -> Option<Self> {
        Self::new(start.max(self.start.clone()), self.end.clone())
    }

    /// What is left of it before `end`; `None` when that is nothing.
    pub fn ending_before(&self, end: Key) -> Option<Self> {
        Self::new(self.start.clone(), end.min(self.end.clone()))
    }
}

/// Appends `text` so that more parts may follow it in a key and the order stays that of the text: a zero
/// byte becomes `00 ff`, and the end is `00 01`.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Reads what [`encode_text`] wrote and gives the rest behind it.
pub fn decode_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [0, 1, tail @ ..] => return Some((String::from_utf8(text).ok()?, tail)),
            [0, 0xff, tail @ ..] => {
                text.push(0);
                rest = tail;
            }
            [0, ..] | [] => return None,
            [byte, tail @ ..] => {
                text.push(*byte);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_must_be_in_a_space() {
        assert!(Key::control("/a").is_ok());
        for bad in [&b""[..], b"x", b"t123", &[0xff; 8]] {
            assert_eq!(Key::new(bad.to_vec()), Err(InvalidKey));
        }
        assert!(Key::new(vec![b'/'; 4097]).is_err());
    }

    #[test]
    fn prefix_end_is_behind_all_with_the_prefix() {
        let prefix = Key::data(Token(0xffff_ffff), &[&[0xff, 0xff]]).expect("key");
        let inside = Key::data(Token(0xffff_ffff), &[&[0xff, 0xff, 0xff, 0xff]]).expect("key");
        assert!(KeyRange::prefix(&prefix).contains(&inside));
        assert_eq!(prefix.prefix_end().as_bytes(), b"u");
    }

    proptest! {
        #[test]
        fn encoded_text_keeps_order_and_round_trips(a in "\\PC*|[\0-\u{2}a]*", b in "\\PC*|[\0-\u{2}a]*") {
            let encode = |text: &str| { let mut out = Vec::new(); encode_text(text, &mut out); out };
            let (ea, eb) = (encode(&a), encode(&b));
            prop_assert_eq!(ea.cmp(&eb), a.as_bytes().cmp(b.as_bytes()));
            let mut with_tail = ea;
            with_tail.extend_from_slice(b"tail");
            prop_assert_eq!(decode_text(&with_tail), Some((a, &b"tail"[..])));
        }
    }
}
