//! UploadPart.

use objects::PartRequest;
use tenancy::action::PutObject;

use super::object_reply::written;
use crate::call::Call;
use crate::error::ApiResult;
use crate::headers::declared_digests;
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(mut call: Call) -> ApiResult<Reply> {
    let body = call.take_body()?;
    let upload = call.upload_id()?;
    let number = call.required_part_number()?;
    let digests = declared_digests(&call.headers, &body)?;
    let proof = call.may_object::<PutObject>().await?;
    let len = body.len();
    let body = body.into_stream().await.map_err(mapping::body)?;
    let request = PartRequest { upload, number, len, digests, body };
    let result = call.engine().put_part(proof, request).await.map_err(mapping::upload)?;
    let mut reply = written(&result);
    // AWS gives the type of an object's checksum, not of a part's.
    reply.headers.remove("x-amz-checksum-type");
    Ok(reply)
}
