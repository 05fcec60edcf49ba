//! A bucket's counters: exact, because they change in the very batch that changes what they count.
//!
//! Key: [`Kind::Counter`], `bucket id (8), which (1)`. The value is the key-value store's own counter form.

use kv::{Key, KeyRange};
use types::{BucketId, Token};

use super::Kind;
use super::key::{self, Home};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Current objects.
    Objects = 0,
    /// Their lengths in bytes, all together.
    Bytes = 1,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Objects, Self::Bytes];
}

/// The counter's key.
pub fn key(home: Home, which: Counter) -> Key {
    key::build(home.token(), Kind::Counter, &[&home.bucket().to_bytes(), &[which as u8]])
}

/// All counters under one token.
pub fn range(token: Token) -> KeyRange {
    key::range(token, Kind::Counter, &[])
}

/// Which counter of which bucket a key is of.
pub fn parse_key(key: &[u8]) -> Option<(BucketId, Counter)> {
    let (_, rest) = key::split_kind(key, Kind::Counter)?;
    let (bucket, which) = key::take_bucket(rest)?;
    let &[which] = which else { return None };
    Some((bucket, Counter::ALL.into_iter().find(|c| *c as u8 == which)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let home = Home::of(BucketId::new(7));
        for which in Counter::ALL {
            assert_eq!(parse_key(key(home, which).as_bytes()), Some((home.bucket(), which)));
        }
        assert_eq!(key(home, Counter::Bytes).as_bytes()[5..], [2, 0, 0, 0, 0, 0, 0, 0, 7, 1]);
        assert_eq!(parse_key(b"t0000\x0200000007\x02"), None);
    }
}
