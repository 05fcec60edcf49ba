//! ListObjectsV2: opaque continuation tokens.

use objects::ListRequest;
use tenancy::action::ListBucket;
use types::limits;

use super::list_objects::{contents, page};
use super::listing::{Encoding, Token, parse_limit, parse_position};
use crate::call::Call;
use crate::error::ApiResult;
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
    let start_after = parse_position(&call.query, "start-after")?;
    let token = Token::read(&call.query)?;
    let fetch_owner = call.query.get("fetch-owner") == Some("true");
    let proof = call.may_bucket::<ListBucket>().await?;
    let bucket = proof.resource().clone();
    let after = token.or_else(|| start_after.clone());
    let request = ListRequest { prefix, delimiter, after, max };
    let (request, page) = page(&call, proof, request).await?;

    let mut xml = Writer::new();
    xml.open_root("ListBucketResult");
    xml.text("Name", bucket.name.as_str());
    encoding.write(&mut xml, "Prefix", &request.prefix);
    xml.optional("ContinuationToken", call.query.get("continuation-token"));
    if let Some(next) = &page.next {
        xml.text("NextContinuationToken", &Token::write(next));
    }
    encoding.write_optional(&mut xml, "StartAfter", start_after.as_deref());
    xml.number("KeyCount", (page.objects.len() + page.prefixes.len()) as u64);
    xml.number("MaxKeys", max as u64);
    encoding.write_optional(&mut xml, "Delimiter", request.delimiter.as_deref());
    xml.flag("IsTruncated", page.next.is_some());
    encoding.declare(&mut xml);
    contents(&mut xml, encoding, &page.objects, fetch_owner.then_some(bucket.owner));
    encoding.prefixes(&mut xml, &page.prefixes);
    xml.close("ListBucketResult");
    Ok(Reply::xml(xml.finish()))
}
