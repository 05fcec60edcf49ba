//! Listings of objects.

use tenancy::action::ListBucket;
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::Failure;
use crate::model::{ListPage, ListRequest};

impl Engine {
    /// A page of a bucket's objects.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list_objects(
        &self,
        _proof: Authorized<ListBucket>,
        _request: ListRequest,
    ) -> Result<ListPage, Failure> {
        unimplemented!()
    }
}
