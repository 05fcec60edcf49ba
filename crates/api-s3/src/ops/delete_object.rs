//! DeleteObject: 204, whether or not there was one.

use http::StatusCode;
use tenancy::action::DeleteObject;

use crate::call::Call;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let proof = call.may_object::<DeleteObject>().await?;
    call.engine().delete_object(proof).await.map_err(mapping::failure)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
