//! The query string, decoded once. The same decoding (`+` is a space, a stray `%` stands for itself) is what
//! the signature is checked over.

use crate::error::{ApiError, ApiResult, Code};

/// Parameters in the order they were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a query string.
    pub(crate) fn parse(raw: Option<&str>) -> ApiResult<Self> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode_form(name)?, decode_form(value)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of `name`, if it is not empty.
    pub(crate) fn nonempty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// Whether `name` is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(n, _)| n == name)
    }

    /// All parameters.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

fn decode_form(text: &str) -> ApiResult<String> {
    if !text.bytes().any(|b| b == b'+' || b == b'%') {
        return Ok(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(first),
        }
    }
    String::from_utf8(out).map_err(|_| ApiError::new(Code::InvalidUri))
}

/// Decodes `%XX` strictly: `None` when an escape is broken or the result is not UTF-8.
pub(crate) fn decode_strict(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex_digit(bytes.next()?)?;
            let low = hex_digit(bytes.next()?)?;
            out.push(high << 4 | low);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Encodes for `encoding-type=url`: unreserved characters and `/` stand for themselves.
pub(crate) fn encode_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0')));
                }
            }
        }
    }
    out
}

/// The value of one hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_decode() {
        let query = Query::parse(Some("prefix=a%2Fb+c&acl&x=%zz&&y==%2B")).expect("valid");
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!(query.get("acl"), Some(""));
        assert_eq!(query.nonempty("acl"), None);
        assert_eq!(query.get("x"), Some("%zz"));
        assert_eq!(query.get("y"), Some("=+"));
        assert!(!query.has("z"));
        assert!(Query::parse(Some("a=%ff")).is_err());
        assert_eq!(Query::parse(Some("a=%")).expect("valid").get("a"), Some("%"));
    }

    #[test]
    fn strict_decoding() {
        assert_eq!(decode_strict("a%2Fb+c").as_deref(), Some("a/b+c"));
        for bad in ["%", "%a", "%zz", "%ff"] {
            assert_eq!(decode_strict(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn encoding_round_trips(text in ".{0,60}") {
            let encoded = encode_url(&text);
            proptest::prop_assert_eq!(decode_strict(&encoded), Some(text.clone()));
            let query = Query::parse(Some(&format!("k={encoded}"))).expect("valid");
            proptest::prop_assert_eq!(query.get("k"), Some(text.as_str()));
        }

        #[test]
        fn any_query_is_survived(text in ".{0,60}") {
            let _ = Query::parse(Some(&text));
        }
    }
}
