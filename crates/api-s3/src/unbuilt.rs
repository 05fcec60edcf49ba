//! The one table of what S3 has and this server has not built: sub-resources, and headers that ask for a
//! feature. Everything in it answers 501 (or the refusal named), never a success that did something else.

use http::{HeaderMap, Method};

use crate::address::Target;
use crate::error::{ApiError, ApiResult, Code};
use crate::query::Query;

/// Query parameters that name a sub-resource or an operation that is not built.
const SUBRESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "annotations",
    "append",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "objectEncryption",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "replication-metrics",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "versioning",
    "versions",
    "website",
];

/// Of those, the ones that are built for GET of a bucket.
const READ_OF_BUCKETS: &[&str] = &["versioning"];

/// What a header may say without asking for anything.
enum Allowed {
    /// Nothing.
    Never,
    /// One of these, without regard to case.
    Values(&'static [&'static str]),
}

/// Headers that ask for a feature that is not built.
const HEADERS: &[(&str, Allowed)] = &[
    ("x-amz-acl", Allowed::Values(&["private", "bucket-owner-full-control"])),
    ("x-amz-bucket-namespace", Allowed::Values(&["global"])),
    ("x-amz-bucket-object-lock-enabled", Allowed::Values(&["false"])),
    ("x-amz-mfa", Allowed::Never),
    ("x-amz-object-ownership", Allowed::Values(&["bucketownerenforced"])),
    ("x-amz-rename-source", Allowed::Never),
    ("x-amz-tagging", Allowed::Values(&[""])),
    ("x-amz-tagging-directive", Allowed::Values(&["copy", "replace"])),
    ("x-amz-write-offset-bytes", Allowed::Never),
];

/// Prefixes of headers of which each asks for a feature that is not built.
const HEADER_PREFIXES: &[&str] = &[
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-if-match-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
];

/// Storage classes that S3 has and this server has not.
const STORAGE_CLASSES: &[&str] = &[
    "DEEP_ARCHIVE",
    "EXPRESS_ONEZONE",
    "FSX_ONTAP",
    "FSX_OPENZFS",
    "GLACIER",
    "GLACIER_IR",
    "INTELLIGENT_TIERING",
    "ONEZONE_IA",
    "OUTPOSTS",
    "REDUCED_REDUNDANCY",
    "SNOW",
    "STANDARD_IA",
];

/// Checksum headers that mean something here; any other would be an integrity check that nobody makes.
const CHECKSUM_HEADERS: &[&str] = &[
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
];

/// Refuses a query that names something that is not built.
pub(crate) fn check_query(method: &Method, target: &Target, query: &Query) -> ApiResult<()> {
    let reads = *method == Method::GET && matches!(target, Target::Bucket(_));
    let built = |name| reads && READ_OF_BUCKETS.contains(&name);
    match query.iter().find(|(name, _)| SUBRESOURCES.contains(name) && !built(name)) {
        Some((name, _)) => Err(ApiError::unbuilt(&format!("?{name}"))),
        None => Ok(()),
    }
}

/// Refuses headers that ask for something that is not built.
pub(crate) fn check_headers(headers: &HeaderMap) -> ApiResult<()> {
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") {
            continue;
        }
        let text = value.to_str().unwrap_or("?");
        let refused = HEADER_PREFIXES.iter().any(|p| name.starts_with(p))
            || (name.starts_with("x-amz-checksum-") && !CHECKSUM_HEADERS.contains(&name))
            || HEADERS.iter().any(|(header, allowed)| name == *header && !allowed.admits(text));
        if refused {
            return Err(ApiError::unbuilt(name).detail("Header", name));
        }
        if name == "x-amz-storage-class" && text != "STANDARD" {
            return Err(if STORAGE_CLASSES.contains(&text) {
                ApiError::unbuilt(name).detail("Header", name)
            } else {
                ApiError::new(Code::InvalidStorageClass)
                    .detail("StorageClassRequested", crate::address::clip(text))
            });
        }
        if name == "x-amz-security-token" {
            return Err(Code::InvalidToken.into());
        }
    }
    Ok(())
}

impl Allowed {
    fn admits(&self, text: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Values(values) => values.iter().any(|v| v.eq_ignore_ascii_case(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::address::Domains;

    fn check(name: &str, value: &str) -> Option<Code> {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        check_headers(&headers).err().map(|e| e.code())
    }

    #[test]
    fn what_asks_for_nothing_passes() {
        for (name, value) in [
            ("x-amz-acl", "private"),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-tagging", ""),
            ("x-amz-tagging-directive", "REPLACE"),
            ("x-amz-object-ownership", "BucketOwnerEnforced"),
            ("x-amz-bucket-object-lock-enabled", "False"),
            ("x-amz-checksum-crc32", "x"),
            ("x-amz-meta-acl", "public-read"),
            ("x-amz-website-redirect-location", "/x"),
            ("x-amz-request-payer", "requester"),
            ("content-type", "x"),
        ] {
            assert_eq!(check(name, value), None, "{name}: {value}");
        }
    }

    #[test]
    fn what_asks_for_a_feature_is_refused() {
        for (name, value) in [
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "id=1"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-copy-source-server-side-encryption-customer-key", "k"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-bucket-object-lock-enabled", "true"),
            ("x-amz-storage-class", "GLACIER"),
            ("x-amz-if-match-size", "1"),
            ("x-amz-write-offset-bytes", "1"),
            ("x-amz-checksum-md5", "x"),
            ("x-amz-checksum-sha512", "x"),
            ("x-amz-checksum-xxhash3", "x"),
        ] {
            assert_eq!(check(name, value), Some(Code::NotImplemented), "{name}: {value}");
        }
        assert_eq!(check("x-amz-storage-class", "FAST"), Some(Code::InvalidStorageClass));
        assert_eq!(check("x-amz-security-token", "t"), Some(Code::InvalidToken));
    }

    #[test]
    fn every_unbuilt_sub_resource_is_refused() {
        let bucket = Target::resolve("h", "/abc", &Domains::new(&[])).expect("a path");
        for name in SUBRESOURCES {
            let query = Query::parse(Some(name)).expect("a query");
            let check = |method| check_query(&method, &bucket, &query).map_err(|e| e.code());
            assert_eq!(check(Method::PUT), Err(Code::NotImplemented), "{name}");
            if !READ_OF_BUCKETS.contains(name) {
                assert_eq!(check(Method::GET), Err(Code::NotImplemented), "{name}");
            }
        }
        let query = Query::parse(Some("prefix=acl&uploads&versioning")).expect("a query");
        assert!(check_query(&Method::GET, &bucket, &query).is_ok());
    }
}
