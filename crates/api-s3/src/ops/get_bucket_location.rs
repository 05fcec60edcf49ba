//! GetBucketLocation: the region, or nothing for `us-east-1`, as ever.

use tenancy::action::GetBucketLocation;

use crate::call::Call;
use crate::error::ApiResult;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    call.may_bucket::<GetBucketLocation>().await?;
    let mut xml = Writer::new();
    xml.open_root("LocationConstraint");
    match call.shared.config.region.as_str() {
        "us-east-1" => {}
        region => xml.raw_text(region),
    }
    xml.close("LocationConstraint");
    Ok(Reply::xml(xml.finish()))
}
