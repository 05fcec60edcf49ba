//! ListParts.

use tenancy::action::ListMultipartUploadParts;
use types::limits;

use super::listing::{Encoding, checksum, owner, parse_limit};
use crate::call::Call;
use crate::dates::iso8601;
use crate::error::ApiResult;
use crate::headers::checksum_element;
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let encoding = Encoding::read(&call.query)?;
    let most = limits::LIST_PAGE_MAX_KEYS;
    let max = parse_limit(&call.query, "max-parts", 0, most, most)?;
    let last_number = usize::from(limits::PART_NUMBER_MAX);
    let after = parse_limit(&call.query, "part-number-marker", 0, last_number, 0)?;
    let after = u16::try_from(after).unwrap_or(limits::PART_NUMBER_MAX);
    let upload = call.upload_id()?;
    let proof = call.may_object::<ListMultipartUploadParts>().await?;
    let object = proof.resource().clone();
    let page = call.engine().list_parts(proof, upload, after, max).await;
    let page = page.map_err(mapping::upload)?;

    let mut xml = Writer::new();
    xml.open_root("ListPartsResult");
    xml.text("Bucket", object.bucket.name.as_str());
    encoding.write(&mut xml, "Key", object.key.as_str());
    xml.text("UploadId", &upload.to_string());
    owner(&mut xml, "Initiator", object.bucket.owner);
    owner(&mut xml, "Owner", object.bucket.owner);
    xml.text("StorageClass", "STANDARD");
    xml.number("PartNumberMarker", u64::from(after));
    let last = page.parts.last().map_or(after, |part| part.number.get());
    xml.number("NextPartNumberMarker", u64::from(page.next.unwrap_or(last)));
    xml.number("MaxParts", max as u64);
    xml.flag("IsTruncated", page.next.is_some());
    encoding.declare(&mut xml);
    checksum(&mut xml, page.checksum);
    for part in &page.parts {
        xml.open("Part");
        xml.number("PartNumber", u64::from(part.number.get()));
        xml.text("LastModified", &iso8601(part.last_modified));
        xml.etag(&part.etag);
        xml.number("Size", part.len);
        if let Some(value) = &part.checksum {
            xml.text(checksum_element(value.algorithm()), &value.to_base64());
        }
        xml.close("Part");
    }
    xml.close("ListPartsResult");
    Ok(Reply::xml(xml.finish()))
}
