//! What replies about objects have in common.

use http::{StatusCode, header};
use objects::{ObjectHeaders, ObjectInfo, StoredChecksum, WriteResult};

use crate::call::Call;
use crate::dates::http_date;
use crate::headers::{checksum_header, checksum_kind_name, header_value};
use crate::reply::Reply;

/// 200 for what a write made.
pub(super) fn written(result: &WriteResult) -> Reply {
    let mut reply = Reply::empty(StatusCode::OK);
    reply.set(header::ETAG, &quoted(&result.etag));
    if let Some(checksum) = &result.checksum {
        set_checksum(&mut reply, checksum);
    }
    reply
}

/// An ETag in quotes.
pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// A checksum as the wire has it: base64, with the number of parts behind a composite one.
pub(super) fn checksum_text(checksum: &StoredChecksum) -> String {
    let value = checksum.value.to_base64();
    match checksum.parts {
        Some(parts) => format!("{value}-{parts}"),
        None => value,
    }
}

/// Sets the checksum's two headers.
pub(super) fn set_checksum(reply: &mut Reply, checksum: &StoredChecksum) {
    reply.set_amz(checksum_header(checksum.value.algorithm()), &checksum_text(checksum));
    reply.set_amz("x-amz-checksum-type", checksum_kind_name(checksum.kind));
}

/// Status and headers of GetObject and HeadObject; the length, too, so that both say the same.
pub(super) fn described(call: &Call, info: &ObjectInfo) -> Reply {
    let mut reply = Reply::empty(StatusCode::OK);
    let len = info.range.end.saturating_sub(info.range.start);
    set_stored(&mut reply, call, &info.headers);
    reply.set(header::ETAG, &quoted(&info.etag));
    reply.set(header::LAST_MODIFIED, &http_date(info.last_modified));
    reply.set(header::ACCEPT_RANGES, "bytes");
    reply.headers.insert(header::CONTENT_LENGTH, len.into());
    if info.partial && len > 0 {
        reply.status = StatusCode::PARTIAL_CONTENT;
        let (first, last) = (info.range.start, info.range.end - 1);
        reply.set(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", info.len));
    }
    let by_part = call.query.has("partNumber");
    if let (true, Some(parts)) = (by_part, info.parts) {
        reply.set_amz("x-amz-mp-parts-count", &parts.to_string());
    }
    let mode = call.headers.get("x-amz-checksum-mode");
    let wanted = mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"));
    // A stored checksum is of the whole object or of a whole part; over a range it would be wrong.
    let whole = len == info.len || by_part;
    if let (true, true, Some(checksum)) = (wanted, whole, &info.checksum) {
        set_checksum(&mut reply, checksum);
    }
    reply
}

fn set_stored(reply: &mut Reply, call: &Call, stored: &ObjectHeaders) {
    let fields = [
        (header::CONTENT_TYPE, "response-content-type", &stored.content_type),
        (header::CONTENT_ENCODING, "response-content-encoding", &stored.content_encoding),
        (header::CONTENT_DISPOSITION, "response-content-disposition", &stored.content_disposition),
        (header::CONTENT_LANGUAGE, "response-content-language", &stored.content_language),
        (header::CACHE_CONTROL, "response-cache-control", &stored.cache_control),
        (header::EXPIRES, "response-expires", &stored.expires),
    ];
    reply
        .headers
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("binary/octet-stream"));
    for (name, parameter, stored) in fields {
        // Every request is signed, and so is every parameter.
        let value = call.query.nonempty(parameter).or(stored.as_deref());
        if let Some(value) = value {
            reply.headers.insert(name, header_value(value));
        }
    }
    if let Some(redirect) = &stored.website_redirect {
        let name = header::HeaderName::from_static("x-amz-website-redirect-location");
        reply.headers.insert(name, header_value(redirect));
    }
    for (name, value) in &stored.user {
        let name = header::HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes());
        if let Ok(name) = name {
            reply.headers.insert(name, header_value(value));
        }
    }
}
