//! The gate: the only maker of proofs.

use std::sync::Arc;

use kv::{Kv, KvError};
use types::{AccountId, BucketName, ErrorKind, ObjectKey};

use crate::action::{Action, CreateBucket};
use crate::{Authorized, BucketRef, NewBucket, ObjectRef, Principal, directory};

/// Why the gate said no.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no bucket of that name.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The principal may not do this to this resource.
    #[error("access denied")]
    AccessDenied,
    /// The gate could not find out, and so denies.
    #[error(transparent)]
    Kv(#[from] KvError),
}

impl Refusal {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchBucket => ErrorKind::NotFound,
            Self::AccessDenied => ErrorKind::Denied,
            Self::Kv(error) => error.kind(),
        }
    }
}

/// Decides, and proves that it has.
#[derive(Clone)]
pub struct Gate {
    kv: Arc<dyn Kv>,
}

impl Gate {
    /// Over the records of `kv`.
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv }
    }

    /// For what a principal does to its own account.
    pub fn own_account<A>(&self, principal: &Principal) -> Authorized<A>
    where
        A: Action<Resource = AccountId>,
    {
        Authorized::new(principal.clone(), principal.account)
    }

    /// For making a bucket, which the principal's account will own.
    pub fn new_bucket(&self, principal: &Principal, name: BucketName) -> Authorized<CreateBucket> {
        Authorized::new(principal.clone(), NewBucket { name, owner: principal.account })
    }

    /// For what is done to a bucket. `expected_owner` is the caller's own condition
    /// (`x-amz-expected-bucket-owner`): any other owner is a denial.
    pub async fn bucket<A>(
        &self,
        principal: &Principal,
        name: &BucketName,
        expected_owner: Option<AccountId>,
    ) -> Result<Authorized<A>, Refusal>
    where
        A: Action<Resource = BucketRef>,
    {
        let bucket = self.find(principal, name, expected_owner).await?;
        Ok(Authorized::new(principal.clone(), bucket))
    }

    /// For what is done to one object.
    pub async fn object<A>(
        &self,
        principal: &Principal,
        name: &BucketName,
        key: ObjectKey,
        expected_owner: Option<AccountId>,
    ) -> Result<Authorized<A>, Refusal>
    where
        A: Action<Resource = ObjectRef>,
    {
        let bucket = self.find(principal, name, expected_owner).await?;
        Ok(Authorized::new(principal.clone(), ObjectRef { bucket, key }))
    }

    /// For what is done to several objects of one bucket: one look-up, one proof a key, in order.
    pub async fn objects<A>(
        &self,
        principal: &Principal,
        name: &BucketName,
        keys: impl IntoIterator<Item = ObjectKey>,
        expected_owner: Option<AccountId>,
    ) -> Result<Vec<Authorized<A>>, Refusal>
    where
        A: Action<Resource = ObjectRef>,
    {
        let bucket = self.find(principal, name, expected_owner).await?;
        let resource = |key| ObjectRef { bucket: bucket.clone(), key };
        Ok(keys.into_iter().map(|k| Authorized::new(principal.clone(), resource(k))).collect())
    }

    /// The one decision: an account may do everything to its own buckets and nothing to others'.
    async fn find(
        &self,
        principal: &Principal,
        name: &BucketName,
        expected_owner: Option<AccountId>,
    ) -> Result<BucketRef, Refusal> {
        let found = directory::find(self.kv.as_ref(), name).await?;
        let (entry, directory_revision) = found.ok_or(Refusal::NoSuchBucket)?;
        let expected = expected_owner.is_none_or(|owner| owner == entry.owner);
        if entry.owner != principal.account || !expected {
            return Err(Refusal::AccessDenied);
        }
        Ok(BucketRef {
            name: name.clone(),
            id: entry.id,
            owner: entry.owner,
            created_at: entry.created_at_ms,
            directory_revision,
        })
    }
}
