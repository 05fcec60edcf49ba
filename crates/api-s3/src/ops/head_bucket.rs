//! HeadBucket.

use http::StatusCode;
use tenancy::action::ListBucket;

use crate::call::Call;
use crate::error::ApiResult;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    call.may_bucket::<ListBucket>().await?;
    let mut reply = Reply::empty(StatusCode::OK);
    reply.set_amz("x-amz-bucket-region", &call.shared.config.region);
    reply.set_amz("x-amz-access-point-alias", "false");
    Ok(reply)
}
