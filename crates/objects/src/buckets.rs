//! Buckets: made, removed, listed.

use tenancy::action::{CreateBucket, DeleteBucket, ListAllMyBuckets};
use tenancy::Authorized;

use crate::engine::Engine;
use crate::error::{CreateBucketError, DeleteBucketError, Failure};
use crate::model::BucketInfo;

impl Engine {
    /// Makes a bucket.
    ///
    /// # Errors
    /// When the name is taken, by the caller or by somebody else.
    pub async fn create_bucket(
        &self,
        _proof: Authorized<CreateBucket>,
    ) -> Result<BucketInfo, CreateBucketError> {
        unimplemented!()
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// [`DeleteBucketError::NotEmpty`] when it holds objects or uploads.
    pub async fn delete_bucket(
        &self,
        _proof: Authorized<DeleteBucket>,
    ) -> Result<(), DeleteBucketError> {
        unimplemented!()
    }

    /// The account's buckets that begin with `prefix` and lie behind `after`, in order of name, at most `max`
    /// (0 to 1000), and whether there are more.
    ///
    /// # Errors
    /// [`Failure::Kv`].
    pub async fn list_buckets(
        &self,
        _proof: Authorized<ListAllMyBuckets>,
        _prefix: &str,
        _after: Option<&str>,
        _max: usize,
    ) -> Result<(Vec<BucketInfo>, bool), Failure> {
        unimplemented!()
    }
}
