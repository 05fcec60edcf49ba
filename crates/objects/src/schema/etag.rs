//! ETags: 16 bytes and, for multipart objects, a number of parts. They are text only at the edges.

use super::codec;

/// The MD5 of an object, or of its parts' MD5s and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    /// The digest.
    pub md5: [u8; 16],
    /// How many parts; 0 for an object that was not made of parts.
    pub parts: u32,
}

impl Etag {
    /// Of an object that was not made of parts.
    pub fn of_md5(md5: [u8; 16]) -> Self {
        Self { md5, parts: 0 }
    }

    /// Hex, and `-N` behind it if there are parts; without quotes.
    pub fn to_text(self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(38);
        for byte in self.md5 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        if self.parts > 0 {
            use std::fmt::Write as _;
            let _ = write!(text, "-{}", self.parts);
        }
        text
    }

    /// From [`Self::to_text`]'s form, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (hex, parts) = match text.split_once('-') {
            Some((hex, parts)) => (hex, parts.parse().ok().filter(|&n: &u32| n > 0)?),
            None => (text, 0),
        };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != 32 || !hex.bytes().all(lower_hex) {
            return None;
        }
        let etag = Self { md5: u128::from_str_radix(hex, 16).ok()?.to_be_bytes(), parts };
        (etag.to_text() == text).then_some(etag)
    }

    pub(crate) fn halves(self) -> (u64, u64) {
        codec::halves(u128::from_be_bytes(self.md5))
    }

    pub(crate) fn from_halves(high: u64, low: u64, parts: u32) -> Self {
        Self { md5: codec::whole(high, low).to_be_bytes(), parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let md5 =
            [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0, 0xb2, 4, 0xe9, 0x80, 9, 0x98, 0xec, 0xf8, 0x42, 0x7e];
        let plain = Etag::of_md5(md5);
        assert_eq!(plain.to_text(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(Etag::parse(&plain.to_text()), Some(plain));
        let parts = Etag { md5, parts: 10_000 };
        assert_eq!(parts.to_text(), "d41d8cd98f00b204e9800998ecf8427e-10000");
        assert_eq!(Etag::parse(&parts.to_text()), Some(parts));
        for bad in [
            "",
            "-1",
            "d41d8cd98f00b204e9800998ecf8427",
            "D41D8CD98F00B204E9800998ECF8427E",
            "d41d8cd98f00b204e9800998ecf8427e-0",
            "d41d8cd98f00b204e9800998ecf8427e-01",
            "+41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e-",
        ] {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }
}
