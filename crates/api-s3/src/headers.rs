//! Request headers into the engine's types: stored headers, user metadata, conditions, ranges, digests. What AWS
//! ignores is ignored here (a malformed `Range` or date), what it refuses is refused.

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, header};
use objects::{
    ChecksumAlgorithm, ChecksumKind, ChecksumValue, DeclaredChecksum, DeclaredDigests,
    DeclaredValue, EtagCondition, ObjectHeaders, ReadConditions, Selection, WriteConditions,
};
use types::{AccountId, limits};

use crate::address::clip;
use crate::body::RequestBody;
use crate::dates::parse_http_date;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;

/// Checksum algorithms with their header and their name in `x-amz-checksum-algorithm`.
const CHECKSUMS: [(ChecksumAlgorithm, &str, &str); 5] = [
    (ChecksumAlgorithm::Crc32, "x-amz-checksum-crc32", "CRC32"),
    (ChecksumAlgorithm::Crc32c, "x-amz-checksum-crc32c", "CRC32C"),
    (ChecksumAlgorithm::Crc64Nvme, "x-amz-checksum-crc64nvme", "CRC64NVME"),
    (ChecksumAlgorithm::Sha1, "x-amz-checksum-sha1", "SHA1"),
    (ChecksumAlgorithm::Sha256, "x-amz-checksum-sha256", "SHA256"),
];

/// The header that carries a checksum of that algorithm.
pub(crate) fn checksum_header(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// Its name in `x-amz-checksum-algorithm` and in listings.
pub(crate) fn checksum_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "CRC32",
        ChecksumAlgorithm::Crc32c => "CRC32C",
        ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
        ChecksumAlgorithm::Sha1 => "SHA1",
        ChecksumAlgorithm::Sha256 => "SHA256",
    }
}

/// Its element in XML documents.
pub(crate) fn checksum_element(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// Its kind on the wire.
pub(crate) fn checksum_kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// The algorithm whose values a header of that (lower-case) name carries.
pub(crate) fn checksum_algorithm_of(header: &str) -> Option<ChecksumAlgorithm> {
    CHECKSUMS.iter().find(|(_, h, _)| *h == header).map(|(algorithm, ..)| *algorithm)
}

/// All algorithms.
pub(crate) fn checksum_algorithms() -> impl Iterator<Item = ChecksumAlgorithm> {
    CHECKSUMS.iter().map(|(algorithm, ..)| *algorithm)
}

/// The algorithm that a header names, if it is there.
pub(crate) fn named_algorithm(
    headers: &HeaderMap,
    header: &'static str,
) -> ApiResult<Option<ChecksumAlgorithm>> {
    let Some(text) = only_header(headers, header)? else { return Ok(None) };
    let found = CHECKSUMS.iter().find(|(_, _, name)| name.eq_ignore_ascii_case(text));
    found.map(|(algorithm, ..)| Some(*algorithm)).ok_or_else(|| {
        ApiError::with(
            Code::InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
        .detail("Header", header)
    })
}

/// The one checksum value among the headers, if there is one.
pub(crate) fn checksum_value(headers: &HeaderMap) -> ApiResult<Option<ChecksumValue>> {
    let mut found = None;
    for (algorithm, name, _) in CHECKSUMS {
        let Some(text) = only_header(headers, name)? else { continue };
        let value = ChecksumValue::from_base64(algorithm, text).ok_or_else(|| {
            ApiError::with(Code::InvalidRequest, format!("Value for {name} header is invalid."))
        })?;
        if found.replace(value).is_some() {
            return Err(ApiError::with(
                Code::InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
    }
    Ok(found)
}

/// `Content-MD5`.
pub(crate) fn content_md5(headers: &HeaderMap) -> ApiResult<Option<[u8; 16]>> {
    let Some(text) = only_header(headers, "content-md5")? else { return Ok(None) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
    let digest = decoded.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    digest.map(Some).ok_or_else(|| Code::InvalidDigest.into())
}

/// What the client declared of an object's or a part's body.
pub(crate) fn declared_digests(
    headers: &HeaderMap,
    body: &RequestBody,
) -> ApiResult<DeclaredDigests> {
    let md5 = content_md5(headers)?;
    let asked = named_algorithm(headers, "x-amz-sdk-checksum-algorithm")?;
    let given = checksum_value(headers)?;
    let checksum = match (given, body.trailer()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::with(
                Code::InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        (Some(value), None) => Some(DeclaredChecksum {
            algorithm: value.algorithm(),
            value: DeclaredValue::Given(value),
        }),
        (None, Some((algorithm, slot))) => Some(DeclaredChecksum {
            algorithm,
            value: DeclaredValue::Trailer(Box::new(move || slot.take())),
        }),
        (None, None) => None,
    };
    match (asked, &checksum) {
        (Some(_), None) => Err(ApiError::with(
            Code::InvalidRequest,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
             headers were found.",
        )),
        (Some(asked), Some(declared)) if asked != declared.algorithm => Err(ApiError::with(
            Code::InvalidRequest,
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        )),
        _ => Ok(DeclaredDigests { md5, checksum }),
    }
}

/// The headers that are stored with an object.
pub(crate) fn object_headers(headers: &HeaderMap) -> ApiResult<ObjectHeaders> {
    let text = |name: &str| -> ApiResult<Option<String>> {
        Ok(only_header(headers, name)?.filter(|t| !t.is_empty()).map(str::to_owned))
    };
    let stored = ObjectHeaders {
        content_type: text("content-type")?,
        content_encoding: text("content-encoding")?.and_then(|t| without_chunked(&t)),
        content_disposition: text("content-disposition")?,
        content_language: text("content-language")?,
        cache_control: text("cache-control")?,
        expires: text("expires")?,
        website_redirect: text("x-amz-website-redirect-location")?,
        user: user_metadata(headers)?,
    };
    let system = [
        &stored.content_type,
        &stored.content_encoding,
        &stored.content_disposition,
        &stored.content_language,
        &stored.cache_control,
        &stored.expires,
        &stored.website_redirect,
    ];
    let system: usize = system.iter().filter_map(|t| t.as_ref().map(String::len)).sum();
    if system > limits::SYSTEM_METADATA_MAX_BYTES {
        return Err(too_large(system, limits::SYSTEM_METADATA_MAX_BYTES));
    }
    let redirect = stored.website_redirect.as_deref();
    if redirect.is_some_and(|r| !["/", "http://", "https://"].iter().any(|p| r.starts_with(p))) {
        return Err(ApiError::with(
            Code::InvalidArgument,
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ));
    }
    Ok(stored)
}

fn user_metadata(headers: &HeaderMap) -> ApiResult<std::collections::BTreeMap<String, String>> {
    let mut user = std::collections::BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| ApiError::with(Code::InvalidArgument, "User metadata must be UTF-8"))?;
        let value = value.trim();
        match user.get_mut(name) {
            Some(earlier) => {
                earlier.push(',');
                earlier.push_str(value);
            }
            None => {
                user.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > limits::USER_METADATA_MAX_BYTES {
        return Err(too_large(size, limits::USER_METADATA_MAX_BYTES));
    }
    Ok(user)
}

fn too_large(size: usize, limit: usize) -> ApiError {
    ApiError::new(Code::MetadataTooLarge)
        .detail("Size", size.to_string())
        .detail("MaxSizeAllowed", limit.to_string())
}

/// `aws-chunked` is framing, not an encoding of the object.
fn without_chunked(text: &str) -> Option<String> {
    let rest: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty() && !t.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!rest.is_empty()).then(|| rest.join(", "))
}

/// A value for a reply header: ASCII as it is, anything else in encoded words (RFC 2047), as AWS does.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\t');
    let encoded = if plain { None } else { Some(encoded_words(text)) };
    HeaderValue::from_str(encoded.as_deref().unwrap_or(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Encoded words of at most 75 characters, never splitting a character.
fn encoded_words(text: &str) -> String {
    const BYTES_PER_WORD: usize = 45;
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(BYTES_PER_WORD);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, tail) = rest.split_at(end);
        let word = base64::engine::general_purpose::STANDARD.encode(word);
        words.push(format!("=?UTF-8?B?{word}?="));
        rest = tail;
    }
    words.join(" ")
}

/// ETags of a condition header; `None` when the header is not there.
fn etag_condition(headers: &HeaderMap, name: &str) -> ApiResult<Option<EtagCondition>> {
    let mut etags = Vec::new();
    for value in headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| ApiError::with(Code::InvalidArgument, "A condition is not valid UTF-8"))?;
        if text.trim() == "*" {
            return Ok(Some(EtagCondition::Any));
        }
        for etag in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let etag = etag.strip_prefix("W/").unwrap_or(etag);
            etags.push(etag.trim_matches('"').to_owned());
        }
    }
    Ok((!etags.is_empty()).then_some(EtagCondition::OneOf(etags)))
}

/// As [`etag_condition`], where a header that names no ETag is refused: whoever sends it means to hold something
/// back, and it must not be let through for that.
fn strict_condition(headers: &HeaderMap, name: &str) -> ApiResult<Option<EtagCondition>> {
    match etag_condition(headers, name)? {
        None if headers.contains_key(name) => {
            Err(ApiError::with(Code::InvalidArgument, "A condition needs an ETag, or *")
                .detail("ArgumentName", name))
        }
        condition => Ok(condition),
    }
}

/// Conditions of a read. `prefix` is empty, or `x-amz-copy-source-`.
pub(crate) fn read_conditions(headers: &HeaderMap, prefix: &str) -> ApiResult<ReadConditions> {
    let name = |name: &str| format!("{prefix}{name}");
    // A GET with an empty header only gets what it may read anyway; a copy writes.
    let etag_condition = if prefix.is_empty() { etag_condition } else { strict_condition };
    let date = |name: String| -> ApiResult<_> {
        Ok(only_header(headers, &name)?.and_then(parse_http_date))
    };
    Ok(ReadConditions {
        if_match: etag_condition(headers, &name("if-match"))?,
        if_none_match: etag_condition(headers, &name("if-none-match"))?,
        if_modified_since: date(name("if-modified-since"))?,
        if_unmodified_since: date(name("if-unmodified-since"))?,
    })
}

/// Conditions of a write.
pub(crate) fn write_conditions(headers: &HeaderMap) -> ApiResult<WriteConditions> {
    for name in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE] {
        if headers.contains_key(&name) {
            return Err(ApiError::unbuilt(name.as_str()).detail("Header", name.as_str()));
        }
    }
    Ok(WriteConditions {
        if_match: strict_condition(headers, "if-match")?,
        if_none_match: strict_condition(headers, "if-none-match")?,
    })
}

/// A `Range` header. Anything but one range of bytes is ignored, as on AWS.
pub(crate) fn parse_range(text: &str) -> Option<Selection> {
    let (unit, range) = text.trim().split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (saturating(first), saturating(last)) {
        (Some(first), Some(last)) if first <= last => Some(Selection::FirstLast(first, last)),
        (Some(first), None) if last.is_empty() => Some(Selection::From(first)),
        (None, Some(length)) if first.is_empty() => Some(Selection::Suffix(length)),
        _ => None,
    }
}

/// A decimal number, at most `u64::MAX - 1`: one more than a position must still be a number.
fn saturating(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX).min(u64::MAX - 1))
}

/// A header with an account id that the caller expects.
pub(crate) fn expected_owner(headers: &HeaderMap, name: &str) -> ApiResult<Option<AccountId>> {
    let Some(text) = only_header(headers, name)? else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| ApiError::new(Code::InvalidBucketOwner).detail("ArgumentValue", clip(text)))
}

#[cfg(test)]
mod tests;
