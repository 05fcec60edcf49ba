//! ListObjects, the first version: `marker` and `NextMarker`.

use objects::{ListPage, ListRequest, ListedObject};
use tenancy::Authorized;
use tenancy::action::ListBucket;
use types::{AccountId, limits};

use super::listing::{Encoding, beyond_every_key, checksum, owner, parse_limit, parse_position};
use crate::call::Call;
use crate::dates::iso8601;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let encoding = Encoding::read(&call.query)?;
    let max = parse_limit(
        &call.query,
        "max-keys",
        0,
        limits::LIST_PAGE_MAX_KEYS,
        limits::LIST_PAGE_MAX_KEYS,
    )?;
    let prefix = call.query.get("prefix").unwrap_or_default().to_owned();
    let delimiter = call.query.nonempty("delimiter").map(str::to_owned);
    let marker = parse_position(&call.query, "marker")?;
    let proof = call.may_bucket::<ListBucket>().await?;
    let bucket = proof.resource().clone();
    let request = ListRequest { prefix, delimiter, after: marker.clone(), max };
    let (request, page) = page(&call, proof, request).await?;

    let mut xml = Writer::new();
    xml.open_root("ListBucketResult");
    xml.text("Name", bucket.name.as_str());
    encoding.write(&mut xml, "Prefix", &request.prefix);
    encoding.write(&mut xml, "Marker", marker.as_deref().unwrap_or_default());
    if request.delimiter.is_some() {
        // Without a delimiter the last key is the next marker; AWS says so only where it is not.
        encoding.write_optional(&mut xml, "NextMarker", page.next.as_deref());
    }
    xml.number("MaxKeys", max as u64);
    encoding.write_optional(&mut xml, "Delimiter", request.delimiter.as_deref());
    xml.flag("IsTruncated", page.next.is_some());
    encoding.declare(&mut xml);
    contents(&mut xml, encoding, &page.objects, Some(bucket.owner));
    encoding.prefixes(&mut xml, &page.prefixes);
    xml.close("ListBucketResult");
    Ok(Reply::xml(xml.finish()))
}

/// A page of the engine's; an empty one where there can be nothing, without asking.
pub(super) async fn page(
    call: &Call,
    proof: Authorized<ListBucket>,
    request: ListRequest,
) -> ApiResult<(ListRequest, ListPage)> {
    if request.max == 0 || beyond_every_key(&request.prefix) {
        return Ok((request, ListPage::default()));
    }
    let page = call.engine().list_objects(proof, request.clone()).await;
    Ok((request, page.map_err(mapping::failure)?))
}

/// The objects of a page.
pub(super) fn contents(
    xml: &mut Writer,
    encoding: Encoding,
    objects: &[ListedObject],
    account: Option<AccountId>,
) {
    for object in objects {
        xml.open("Contents");
        encoding.write(xml, "Key", &object.key);
        xml.text("LastModified", &iso8601(object.last_modified));
        xml.etag(&object.etag);
        checksum(xml, object.checksum);
        xml.number("Size", object.len);
        if let Some(account) = account {
            owner(xml, "Owner", account);
        }
        xml.text("StorageClass", "STANDARD");
        xml.close("Contents");
    }
}
