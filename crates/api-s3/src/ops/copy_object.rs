//! CopyObject.

use objects::{CopyHeaders, CopyRequest, WriteResult};
use tenancy::action::{GetObject, PutObject};

use super::object_reply::checksum_text;
use crate::address::clip;
use crate::call::Call;
use crate::dates::iso8601;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;
use crate::headers::{
    checksum_element, checksum_kind_name, named_algorithm, object_headers, read_conditions,
    write_conditions,
};
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let request = CopyRequest {
        headers: copied_headers(&call)?,
        source_conditions: read_conditions(&call.headers, "x-amz-copy-source-")?,
        conditions: write_conditions(&call.headers)?,
        checksum: named_algorithm(&call.headers, "x-amz-checksum-algorithm")?,
    };
    let target = call.may_object::<PutObject>().await?;
    let source = call.may_source::<GetObject>().await?;
    let result = call.engine().copy_object(source, target, request).await;
    Ok(Reply::xml(document("CopyObjectResult", &result.map_err(mapping::copy)?)))
}

fn copied_headers(call: &Call) -> ApiResult<CopyHeaders> {
    let directive = only_header(&call.headers, "x-amz-metadata-directive")?;
    match directive.unwrap_or("COPY") {
        "REPLACE" => Ok(CopyHeaders::Replace(object_headers(&call.headers)?)),
        "COPY" if call.headers.contains_key("x-amz-website-redirect-location") => {
            Err(ApiError::unbuilt("x-amz-website-redirect-location while the metadata is copied"))
        }
        "COPY" => Ok(CopyHeaders::Keep),
        other => Err(ApiError::with(Code::InvalidArgument, "Unknown metadata directive.")
            .detail("ArgumentName", "x-amz-metadata-directive")
            .detail("ArgumentValue", clip(other))),
    }
}

/// What a copy made.
pub(super) fn document(root: &str, result: &WriteResult) -> Vec<u8> {
    let mut xml = Writer::new();
    xml.open_root(root);
    xml.text("LastModified", &iso8601(result.last_modified));
    xml.etag(&result.etag);
    if let Some(checksum) = &result.checksum {
        let element = checksum_element(checksum.value.algorithm());
        xml.text(element, &checksum_text(checksum));
        if root == "CopyObjectResult" {
            xml.text("ChecksumType", checksum_kind_name(checksum.kind));
        }
    }
    xml.close(root);
    xml.finish()
}
