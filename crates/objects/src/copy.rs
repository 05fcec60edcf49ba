//! CopyObject.

use tenancy::action::{GetObject, PutObject};
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::CopyError;
use crate::model::{CopyRequest, WriteResult};

impl Engine {
    /// Copies an object without moving its bytes.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn copy_object(
        &self,
        _source: Authorized<GetObject>,
        _target: Authorized<PutObject>,
        _request: CopyRequest,
    ) -> Result<WriteResult, CopyError> {
        unimplemented!()
    }
}
