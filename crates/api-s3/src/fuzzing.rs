//! Doors for the fuzz targets of `conformance`: the parsers of what clients write, each on its own and without
//! the server around it. The product does not use them.

use http::{HeaderMap, HeaderValue};
use objects::Selection;
use types::{BucketName, ObjectKey};

use crate::address::{Domains, Target};
use crate::query::Query;

/// The names in a host header and a raw path, if they are a target.
pub fn target(
    host: &str,
    path: &str,
    domains: &[String],
) -> Option<(Option<BucketName>, Option<ObjectKey>)> {
    let target = Target::resolve(host, path, &Domains::new(domains)).ok()?;
    Some((target.bucket().cloned(), target.key().cloned()))
}

/// The names in a value of `x-amz-copy-source`, if it is one.
pub fn copy_source(value: &[u8]) -> Option<(BucketName, ObjectKey)> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-copy-source", HeaderValue::from_bytes(value).ok()?);
    crate::copy_source::read(&headers).ok()
}

/// The pairs of a query string, if it is one.
pub fn query(raw: &str) -> Option<Vec<(String, String)>> {
    let query = Query::parse(Some(raw)).ok()?;
    Some(query.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A value of `Range`, if it is one that is not ignored.
pub fn range(text: &str) -> Option<Selection> {
    crate::headers::parse_range(text)
}

/// Encodes a key as listings with `encoding-type=url` do.
pub fn encode_url(text: &str) -> String {
    crate::query::encode_url(text)
}
