//! Names that users choose, validated once at the edge and canonical from then on: the same value is
//! used for authorisation and for storage, so that the two can never disagree.

use std::fmt;

use crate::limits;

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Shorter than allowed (for most names: empty).
    #[error("the name is too short")]
    TooShort,
    /// Longer than allowed.
    #[error("the name is too long")]
    TooLong,
    /// A character or a shape that the rules forbid.
    #[error("the name has characters or a shape that are not allowed")]
    Malformed,
}

/// A bucket name under the rules for general-purpose buckets
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>): 3 to 63 of
/// `a-z 0-9 . -`, beginning and ending with a letter or digit, no two dots in a row, not shaped like an
/// IPv4 address, none of the reserved prefixes and suffixes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(String);

impl BucketName {
    /// Validates `text`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.len() < limits::BUCKET_NAME_MIN_BYTES {
            return Err(InvalidName::TooShort);
        }
        if text.len() > limits::BUCKET_NAME_MAX_BYTES {
            return Err(InvalidName::TooLong);
        }
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let ends_ok = ends.into_iter().flatten().all(|&b| alnum(b));
        let chars_ok = bytes.iter().all(|&b| alnum(b) || b == b'.' || b == b'-');
        let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|p| text.starts_with(p))
            || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
                .iter()
                .any(|s| text.ends_with(s));
        let ipv4 = text.parse::<std::net::Ipv4Addr>().is_ok() || looks_like_ipv4(text);
        if !ends_ok || !chars_ok || text.contains("..") || reserved || ipv4 {
            return Err(InvalidName::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn looks_like_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4
        && parts
            .iter()
            .all(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))
}

/// An object key: 1 to 1,024 bytes of UTF-8, any characters, never normalised. `a` and `a/b`, `..`, `//`
/// and a leading `/` are all just keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Validates `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        match text.len() {
            0 => Err(InvalidName::TooShort),
            len if len > limits::OBJECT_KEY_MAX_BYTES => Err(InvalidName::TooLong),
            _ => Ok(Self(text)),
        }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An access key id: 3 to 128 of `A-Z a-z 0-9 _ -`. Not a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// Validates `text`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.len() < 3 {
            return Err(InvalidName::TooShort);
        }
        if text.len() > 128 {
            return Err(InvalidName::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(InvalidName::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part number: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// Validates `number`.
    pub fn new(number: i64) -> Option<Self> {
        u16::try_from(number).ok().filter(|n| (1..=limits::PART_NUMBER_MAX).contains(n)).map(Self)
    }

    /// The number, 1 to 10,000.
    pub const fn get(self) -> u16 {
        self.0
    }
}

macro_rules! text_forms {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
text_forms!(BucketName, ObjectKey, AccessKeyId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_published_rules() {
        for good in ["abc", "a-b.c", "0a1", &"a".repeat(63), "1.2.3.4.5"] {
            assert!(BucketName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            ".abc",
            "a..b",
            "192.168.5.4",
            "999.1.1.1",
            "xn--abc",
            "sthree-a",
            "abc-s3alias",
            "abc--ol-s3",
            "a b",
            "a/b",
            "bücket",
            &"a".repeat(64),
        ] {
            assert!(BucketName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn object_keys_are_any_text_of_the_right_length() {
        for good in ["a", "/", "//a", "../..", "a b", "🦀", "\0", &"k".repeat(1024)] {
            assert_eq!(ObjectKey::new(good).expect("valid").as_str(), good);
        }
        assert_eq!(ObjectKey::new(""), Err(InvalidName::TooShort));
        assert_eq!(ObjectKey::new("é".repeat(513)), Err(InvalidName::TooLong));
    }

    #[test]
    fn part_numbers() {
        assert_eq!(PartNumber::new(10_000).map(PartNumber::get), Some(10_000));
        for bad in [0, -1, 10_001, i64::MAX] {
            assert_eq!(PartNumber::new(bad), None);
        }
    }
}
