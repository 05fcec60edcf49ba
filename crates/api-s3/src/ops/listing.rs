//! What listings have in common: limits, encoding, opaque tokens, owners.

use base64::Engine as _;
use objects::{ChecksumAlgorithm, ChecksumKind};
use types::{AccountId, limits};

use crate::address::clip;
use crate::error::{ApiError, ApiResult};
use crate::headers::{checksum_kind_name, checksum_name};
use crate::query::{Query, encode_url};
use crate::xml::Writer;

/// A numeric parameter of a listing: `default` when it is not there, `most` when it is more.
pub(super) fn parse_limit(
    query: &Query,
    name: &'static str,
    least: usize,
    most: usize,
    default: usize,
) -> ApiResult<usize> {
    let Some(text) = query.nonempty(name) else { return Ok(default) };
    match text.parse::<i32>().ok().and_then(|n| usize::try_from(n).ok()) {
        Some(number) if number >= least => Ok(number.min(most)),
        _ => Err(ApiError::argument(
            name,
            clip(text),
            format!("Argument {name} must be an integer between {least} and {}", i32::MAX),
        )),
    }
}

/// How names are written: as they are, or URL-encoded for clients whose XML cannot hold every character.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    url: bool,
}

impl Encoding {
    /// `encoding-type`.
    pub(super) fn read(query: &Query) -> ApiResult<Self> {
        match query.nonempty("encoding-type") {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(other) => Err(ApiError::argument(
                "encoding-type",
                clip(other),
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    /// Writes a name.
    pub(super) fn write(self, xml: &mut Writer, element: &str, name: &str) {
        if self.url {
            xml.text(element, &encode_url(name));
        } else {
            xml.text(element, name);
        }
    }

    /// Writes a name, if there is one.
    pub(super) fn write_optional(self, xml: &mut Writer, element: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.write(xml, element, name);
        }
    }

    /// Says which encoding it is.
    pub(super) fn declare(self, xml: &mut Writer) {
        if self.url {
            xml.text("EncodingType", "url");
        }
    }

    /// Writes common prefixes.
    pub(super) fn prefixes(self, xml: &mut Writer, prefixes: &[String]) {
        for prefix in prefixes {
            xml.open("CommonPrefixes");
            self.write(xml, "Prefix", prefix);
            xml.close("CommonPrefixes");
        }
    }
}

/// Where a listing goes on. Opaque to clients: what is in it may change.
pub(super) struct Token;

impl Token {
    const VERSION: u8 = 1;

    /// `continuation-token`.
    pub(super) fn read(query: &Query) -> ApiResult<Option<String>> {
        let Some(text) = query.get("continuation-token") else { return Ok(None) };
        let wrong = || {
            ApiError::argument(
                "continuation-token",
                clip(text),
                "The continuation token provided is incorrect",
            )
        };
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok();
        let bytes = bytes.ok_or_else(wrong)?;
        match bytes.split_first() {
            Some((&Self::VERSION, after)) if !after.is_empty() => {
                String::from_utf8(after.to_vec()).map(Some).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }

    /// The token that goes on behind `after`.
    pub(super) fn write(after: &str) -> String {
        let mut bytes = vec![Self::VERSION];
        bytes.extend_from_slice(after.as_bytes());
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Whether a listing with this prefix can hold nothing, because no key is that long.
pub(super) fn beyond_every_key(prefix: &str) -> bool {
    prefix.len() > limits::OBJECT_KEY_MAX_BYTES
}

/// A position that a client chose. Longer than any key, it is refused.
pub(super) fn parse_position(query: &Query, name: &'static str) -> ApiResult<Option<String>> {
    match query.nonempty(name) {
        Some(text) if beyond_every_key(text) => Err(ApiError::argument(
            name,
            clip(text),
            format!("Argument {name} must be at most {} bytes", limits::OBJECT_KEY_MAX_BYTES),
        )),
        text => Ok(text.map(str::to_owned)),
    }
}

/// An account as an owner.
pub(super) fn owner(xml: &mut Writer, element: &str, account: AccountId) {
    let id = account.to_string();
    xml.open(element);
    xml.text("ID", &id);
    xml.text("DisplayName", &id);
    xml.close(element);
}

/// A checksum's algorithm and kind.
pub(super) fn checksum(xml: &mut Writer, checksum: Option<(ChecksumAlgorithm, ChecksumKind)>) {
    if let Some((algorithm, kind)) = checksum {
        xml.text("ChecksumAlgorithm", checksum_name(algorithm));
        xml.text("ChecksumType", checksum_kind_name(kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).expect("a query")
    }

    #[test]
    fn limits_clamp_and_refuse() {
        let limit =
            |text| parse_limit(&query(text), "max-keys", 0, 1000, 1000).map_err(|e| e.code());
        assert_eq!(limit(""), Ok(1000));
        assert_eq!(limit("max-keys="), Ok(1000));
        assert_eq!(limit("max-keys=0"), Ok(0));
        assert_eq!(limit("max-keys=7"), Ok(7));
        assert_eq!(limit("max-keys=2147483647"), Ok(1000));
        for bad in ["max-keys=-1", "max-keys=x", "max-keys=2147483648", "max-keys=1.5"] {
            assert_eq!(limit(bad), Err(Code::InvalidArgument), "{bad}");
        }
    }

    #[test]
    fn tokens_round_trip_and_are_checked() {
        for after in ["a", "a/b c", "🦀", "\u{1}"] {
            let token = Token::write(after);
            let read = Token::read(&query(&format!("continuation-token={token}")));
            assert_eq!(read.expect("valid").as_deref(), Some(after));
        }
        for bad in ["", "!", "AA", "AQ", "Af8"] {
            assert!(Token::read(&query(&format!("continuation-token={bad}"))).is_err(), "{bad}");
        }
        assert!(Token::read(&query("")).expect("none").is_none());
    }
}
