//! HeadObject: what GetObject says, without the body.

use objects::GetError;
use tenancy::action::GetObject;

use super::get_object::{Wanted, range_text};
use super::object_reply::described;
use crate::call::Call;
use crate::error::ApiResult;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let wanted = Wanted::read(&call)?;
    let proof = call.may_object::<GetObject>().await?;
    let mut result = call.engine().head_object(proof, wanted.request.clone()).await;
    if let (Err(GetError::PreconditionFailed), Some(whole)) = (&result, &wanted.otherwise) {
        let proof = call.may_object::<GetObject>().await?;
        result = call.engine().head_object(proof, whole.clone()).await;
    }
    let info = result.map_err(|error| mapping::get(error, range_text(&call.headers)))?;
    Ok(described(&call, &info))
}
