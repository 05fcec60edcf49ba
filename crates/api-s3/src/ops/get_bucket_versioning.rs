//! GetBucketVersioning: no bucket here has ever had versions, and AWS says that by saying nothing.

use tenancy::action::GetBucketVersioning;

use crate::call::Call;
use crate::error::ApiResult;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    call.may_bucket::<GetBucketVersioning>().await?;
    let mut xml = Writer::new();
    xml.open_root("VersioningConfiguration");
    xml.close("VersioningConfiguration");
    Ok(Reply::xml(xml.finish()))
}
