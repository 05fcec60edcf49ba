//! UploadPartCopy.

use objects::PartCopyRequest;
use tenancy::action::{GetObject, PutObject};

use super::copy_object::document;
use crate::address::clip;
use crate::call::Call;
use crate::error::{ApiError, ApiResult};
use crate::gate::only_header;
use crate::headers::read_conditions;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let request = PartCopyRequest {
        upload: call.upload_id()?,
        number: call.required_part_number()?,
        range: match only_header(&call.headers, "x-amz-copy-source-range")? {
            Some(text) => Some(parse_range(text)?),
            None => None,
        },
        source_conditions: read_conditions(&call.headers, "x-amz-copy-source-")?,
    };
    let target = call.may_object::<PutObject>().await?;
    let source = call.may_source::<GetObject>().await?;
    let result = call.engine().copy_part(source, target, request).await;
    Ok(Reply::xml(document("CopyPartResult", &result.map_err(mapping::copy)?)))
}

/// `bytes=first-last`. Here nothing is optional and nothing is ignored.
fn parse_range(text: &str) -> ApiResult<(u64, u64)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u64>().ok().filter(|n| *n < u64::MAX) } else { None }
    };
    let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    match range.and_then(|(first, last)| Some((number(first)?, number(last)?))) {
        Some((first, last)) if first <= last => Ok((first, last)),
        _ => Err(ApiError::argument(
            "x-amz-copy-source-range",
            clip(text),
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
             the zero-based offsets of the first and last bytes to copy",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_strict() {
        assert_eq!(parse_range("bytes=0-0").ok(), Some((0, 0)));
        assert_eq!(parse_range("bytes=5-10").ok(), Some((5, 10)));
        for bad in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=1-",
            "bytes=-1",
            "bytes=2-1",
            "bytes=1-2,3-4",
            "0-1",
            "bytes=0-18446744073709551615",
            "bytes=0-18446744073709551616",
        ] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
