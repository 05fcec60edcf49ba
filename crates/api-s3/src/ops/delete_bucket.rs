//! DeleteBucket.

use http::StatusCode;
use tenancy::action::DeleteBucket;

use crate::call::Call;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let proof = call.may_bucket::<DeleteBucket>().await?;
    call.engine().delete_bucket(proof).await.map_err(mapping::delete_bucket)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
