//! Tests of header parsing.

use super::*;

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    map
}

#[test]
fn ranges() {
    for (text, expected) in [
        ("bytes=0-0", Some(Selection::FirstLast(0, 0))),
        ("bytes=5-9", Some(Selection::FirstLast(5, 9))),
        ("Bytes = 5 - 9", Some(Selection::FirstLast(5, 9))),
        ("bytes=7-", Some(Selection::From(7))),
        ("bytes=-7", Some(Selection::Suffix(7))),
        ("bytes=-0", Some(Selection::Suffix(0))),
        ("bytes=0-99999999999999999999999", Some(Selection::FirstLast(0, u64::MAX - 1))),
        ("bytes=99999999999999999999999-", Some(Selection::From(u64::MAX - 1))),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("lines=1-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=+1-2", None),
        ("bytes=1-x", None),
    ] {
        assert_eq!(parse_range(text), expected, "{text}");
    }
}

#[test]
fn conditions() {
    let headers = map(&[
        ("if-match", "\"a\", W/\"b\",c"),
        ("if-match", "\"d\""),
        ("if-none-match", "*"),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if-unmodified-since", "some day"),
    ]);
    let conditions = read_conditions(&headers, "").expect("conditions");
    let etags = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    assert_eq!(conditions.if_match, Some(EtagCondition::OneOf(etags)));
    assert_eq!(conditions.if_none_match, Some(EtagCondition::Any));
    assert_eq!(conditions.if_modified_since, Some(types::UnixMillis(784_111_777_000)));
    assert_eq!(conditions.if_unmodified_since, None);
    assert!(write_conditions(&headers).is_err(), "dates do not condition writes");
    assert_eq!(
        read_conditions(&headers, "x-amz-copy-source-").expect("none"),
        ReadConditions::default()
    );
}

#[test]
fn stored_headers() {
    let headers = map(&[
        ("content-type", "text/plain"),
        ("content-encoding", "aws-chunked, gzip"),
        ("expires", "whenever"),
        ("x-amz-meta-one", "1"),
        ("x-amz-meta-two", "a"),
        ("x-amz-meta-two", "b"),
        ("x-amz-meta-three", "zwölf"),
    ]);
    let stored = object_headers(&headers).expect("headers");
    assert_eq!(stored.content_type.as_deref(), Some("text/plain"));
    assert_eq!(stored.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(stored.expires.as_deref(), Some("whenever"));
    assert_eq!(stored.user.get("two").map(String::as_str), Some("a,b"));
    assert_eq!(stored.user.get("three").map(String::as_str), Some("zwölf"));
    let chunked = object_headers(&map(&[("content-encoding", "aws-chunked")])).expect("headers");
    assert_eq!(chunked.content_encoding, None);
}

#[test]
fn metadata_has_a_limit() {
    let exact = "v".repeat(2048 - 1);
    assert!(object_headers(&map(&[("x-amz-meta-k", &exact)])).is_ok());
    let over = "v".repeat(2048);
    let error = object_headers(&map(&[("x-amz-meta-k", &over)])).expect_err("too large");
    assert_eq!(error.code(), Code::MetadataTooLarge);
    let error =
        object_headers(&map(&[("cache-control", &"c".repeat(2049))])).expect_err("too large");
    assert_eq!(error.code(), Code::MetadataTooLarge);
}

#[test]
fn values_outside_ascii_become_encoded_words() {
    assert_eq!(header_value("plain, as it is").as_bytes(), "plain, as it is".as_bytes());
    assert_eq!(header_value("=?UTF-8?B?w6k=?=").as_bytes(), "=?UTF-8?B?w6k=?=".as_bytes());
    assert_eq!(header_value("é").as_bytes(), "=?UTF-8?B?w6k=?=".as_bytes());
    let long = header_value(&"ä".repeat(60));
    let text = long.to_str().expect("ASCII");
    assert!(text.split(' ').all(|word| word.len() <= 75 && word.ends_with("?=")));
}

#[test]
fn digests() {
    let md5 = content_md5(&map(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")])).expect("MD5");
    assert_eq!(md5.map(|d| d[0]), Some(0xd4));
    for bad in ["", "x", "AAAA"] {
        let error = content_md5(&map(&[("content-md5", bad)])).expect_err("bad");
        assert_eq!(error.code(), Code::InvalidDigest);
    }
    let value = checksum_value(&map(&[("x-amz-checksum-crc32", "AAAAAA==")])).expect("CRC");
    assert_eq!(value.map(|v| v.algorithm()), Some(ChecksumAlgorithm::Crc32));
    assert!(checksum_value(&map(&[("x-amz-checksum-crc32", "AAAA")])).is_err());
    let two = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")];
    assert!(checksum_value(&map(&two)).is_err());
}

#[test]
fn owners() {
    let headers = map(&[("x-amz-expected-bucket-owner", "000000000001")]);
    let owner = expected_owner(&headers, "x-amz-expected-bucket-owner").expect("an id");
    assert_eq!(owner, AccountId::new(1));
    let headers = map(&[("x-amz-expected-bucket-owner", "me")]);
    let error = expected_owner(&headers, "x-amz-expected-bucket-owner").expect_err("not an id");
    assert_eq!(error.code(), Code::InvalidBucketOwner);
}

proptest::proptest! {
    #[test]
    fn any_range_is_survived(text in "(bytes=)?[0-9 ,=-]{0,50}") {
        if let Some(Selection::FirstLast(first, last)) = parse_range(&text) {
            proptest::prop_assert!(first <= last && last < u64::MAX);
        }
    }

    #[test]
    fn any_value_makes_a_header(text in ".{0,200}") {
        proptest::prop_assert!(header_value(&text).to_str().is_ok());
    }
}
