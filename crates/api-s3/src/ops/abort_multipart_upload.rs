//! AbortMultipartUpload.

use http::StatusCode;
use tenancy::action::AbortMultipartUpload;

use crate::call::Call;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let upload = call.upload_id()?;
    let proof = call.may_object::<AbortMultipartUpload>().await?;
    call.engine().abort_upload(proof, upload).await.map_err(mapping::upload)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
