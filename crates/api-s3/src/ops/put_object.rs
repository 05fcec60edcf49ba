//! PutObject. Without a declared checksum none is computed or stored (AWS would add CRC-64/NVME): the bytes are
//! checked on every read by the frames that they are stored in.

use objects::PutRequest;
use tenancy::action::PutObject;

use super::object_reply::written;
use crate::call::Call;
use crate::error::ApiResult;
use crate::headers::{declared_digests, object_headers, write_conditions};
use crate::mapping;
use crate::reply::Reply;

pub(super) async fn run(mut call: Call) -> ApiResult<Reply> {
    let body = call.take_body()?;
    let headers = object_headers(&call.headers)?;
    let digests = declared_digests(&call.headers, &body)?;
    let conditions = write_conditions(&call.headers)?;
    let proof = call.may_object::<PutObject>().await?;
    let len = body.len();
    let body = body.into_stream().await.map_err(mapping::body)?;
    let request = PutRequest { len, headers, digests, conditions, body };
    let result = call.engine().put_object(proof, request).await.map_err(mapping::put)?;
    Ok(written(&result))
}
