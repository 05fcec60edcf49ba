//! GetObject and HeadObject.

use tenancy::action::GetObject;
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::GetError;
use crate::model::{GetRequest, GetResult, ObjectInfo};

impl Engine {
    /// An object's facts and bytes.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn get_object(
        &self,
        _proof: Authorized<GetObject>,
        _request: GetRequest,
    ) -> Result<GetResult, GetError> {
        unimplemented!()
    }

    /// An object's facts.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn head_object(
        &self,
        _proof: Authorized<GetObject>,
        _request: GetRequest,
    ) -> Result<ObjectInfo, GetError> {
        unimplemented!()
    }
}
