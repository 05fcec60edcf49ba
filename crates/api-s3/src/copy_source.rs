//! `x-amz-copy-source`: which object a copy reads. Decoded once, into the names that are then authorised.

use http::HeaderMap;
use types::{BucketName, ObjectKey};

use crate::address::{clip, parse_bucket, parse_key};
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;
use crate::query::decode_strict;

const NAME: &str = "x-amz-copy-source";

/// The source that a request names.
pub(crate) fn read(headers: &HeaderMap) -> ApiResult<(BucketName, ObjectKey)> {
    parse(only_header(headers, NAME)?.unwrap_or_default())
}

/// `[/]bucket/key[?versionId=null]`, URL-encoded. The version is split off before decoding, so that a key may hold
/// an encoded `?`; `..` and `//` are parts of the key like any other.
fn parse(text: &str) -> ApiResult<(BucketName, ObjectKey)> {
    let (path, version) = match text.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    let invalid = |message: &'static str| ApiError::argument(NAME, clip(text), message);
    let path = decode_strict(path).ok_or_else(|| invalid("Invalid copy source encoding."))?;
    if path.starts_with("arn:") {
        return Err(ApiError::unbuilt("a copy source that is an access point"));
    }
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path
        .split_once('/')
        .filter(|(_, key)| !key.is_empty())
        .ok_or_else(|| invalid("Invalid copy source object key"))?;
    let source = (parse_bucket(bucket)?, parse_key(key)?);
    match version {
        None | Some("null") => Ok(source),
        Some("") => Err(invalid("Version id cannot be the empty string")),
        Some(version) => Err(ApiError::new(Code::NoSuchVersion).detail("VersionId", clip(version))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<String, Code> {
        match parse(text) {
            Ok((bucket, key)) => Ok(format!("{bucket}|{key}")),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn sources() {
        for (text, expected) in [
            ("abc/k", "abc|k"),
            ("/abc/k", "abc|k"),
            ("%2Fabc%2Fk", "abc|k"),
            ("abc/../../other/k", "abc|../../other/k"),
            ("abc/%2e%2e%2fother", "abc|../other"),
            ("abc//k", "abc|/k"),
            ("abc/a+b", "abc|a+b"),
            ("abc/a%20b", "abc|a b"),
            ("abc/k?versionId=null", "abc|k"),
            ("abc/k%3FversionId=1", "abc|k?versionId=1"),
            ("abc/what?", "abc|what?"),
            ("abc/a%252Fb", "abc|a%2Fb"),
            ("abc/ключ", "abc|ключ"),
        ] {
            assert_eq!(ask(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_sources() {
        let long = format!("abc/{}", "k".repeat(1025));
        for (text, code) in [
            ("", Code::InvalidArgument),
            ("/", Code::InvalidArgument),
            ("abc", Code::InvalidArgument),
            ("abc/", Code::InvalidArgument),
            ("abc/%zz", Code::InvalidArgument),
            ("abc/%ff", Code::InvalidArgument),
            ("//abc/k", Code::InvalidBucketName),
            ("../abc/k", Code::InvalidBucketName),
            ("ABC/k", Code::InvalidBucketName),
            ("arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k", Code::NotImplemented),
            ("abc/k?versionId=3", Code::NoSuchVersion),
            ("abc/k?versionId=", Code::InvalidArgument),
            (&long, Code::KeyTooLong),
        ] {
            assert_eq!(ask(text), Err(code), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_key_survives(key in "\\PC{1,40}|[./%?+ ]{1,9}") {
            let text = format!("abc/{}", crate::query::encode_url(&key));
            proptest::prop_assert_eq!(ask(&text), Ok(format!("abc|{key}")));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let _ = ask(&text);
        }
    }
}
