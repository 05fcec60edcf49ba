//! ListBuckets: the caller's own buckets. `bucket-region` is understood: every bucket is in this region.

use tenancy::action::ListAllMyBuckets;

use super::listing::{Token, owner, parse_limit};
use crate::call::Call;
use crate::dates::iso8601;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

/// Most buckets in a page; also the page when the caller does not say.
const PAGE_MAX: usize = 10_000;
/// Most that the engine gives at once.
const ENGINE_PAGE_MAX: usize = 1000;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let prefix = call.query.get("prefix").unwrap_or_default();
    let max = parse_limit(&call.query, "max-buckets", 1, PAGE_MAX, PAGE_MAX)?;
    let mut after = Token::read(&call.query)?;
    let region = call.shared.config.region.as_str();
    let elsewhere = call.query.nonempty("bucket-region").is_some_and(|asked| asked != region);
    let mut buckets = Vec::new();
    let mut more = false;
    while !elsewhere && buckets.len() < max {
        let proof = call.shared.config.gate.own_account::<ListAllMyBuckets>(&call.principal);
        let wanted = (max - buckets.len()).min(ENGINE_PAGE_MAX);
        let page = call.engine().list_buckets(proof, prefix, after.as_deref(), wanted).await;
        let (page, has_more) = page.map_err(mapping::failure)?;
        after = page.last().map(|b| b.name.as_str().to_owned());
        more = has_more && !page.is_empty();
        buckets.extend(page);
        if !more {
            break;
        }
    }
    let mut xml = Writer::new();
    xml.open_root("ListAllMyBucketsResult");
    owner(&mut xml, "Owner", call.principal.account);
    xml.open("Buckets");
    for bucket in &buckets {
        xml.open("Bucket");
        xml.text("Name", bucket.name.as_str());
        xml.text("CreationDate", &iso8601(bucket.created_at));
        xml.text("BucketRegion", region);
        xml.close("Bucket");
    }
    xml.close("Buckets");
    if let (true, Some(last)) = (more, &after) {
        xml.text("ContinuationToken", &Token::write(last));
    }
    if !prefix.is_empty() {
        xml.text("Prefix", prefix);
    }
    xml.close("ListAllMyBucketsResult");
    Ok(Reply::xml(xml.finish()))
}
