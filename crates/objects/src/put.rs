//! PutObject.

use tenancy::action::PutObject;
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::PutError;
use crate::model::{PutRequest, WriteResult};

impl Engine {
    /// Stores an object in place of the current one.
    ///
    /// # Errors
    /// [`PutError`]; nothing is visible unless [`crate::Failure::Unknown`].
    pub async fn put_object(
        &self,
        _proof: Authorized<PutObject>,
        _request: PutRequest,
    ) -> Result<WriteResult, PutError> {
        unimplemented!()
    }
}
