//! DeleteObject and DeleteObjects.

use tenancy::action::DeleteObject;
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::Failure;

impl Engine {
    /// Removes an object; whether there was one.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete_object(&self, _proof: Authorized<DeleteObject>) -> Result<bool, Failure> {
        unimplemented!()
    }

    /// Removes several objects; the results are in the order of the proofs.
    pub async fn delete_objects(
        &self,
        _proofs: Vec<Authorized<DeleteObject>>,
    ) -> Vec<Result<bool, Failure>> {
        unimplemented!()
    }
}
