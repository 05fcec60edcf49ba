//! The proof that the gate was asked and said yes.

use types::{AccountId, BucketId, BucketName, ObjectKey, Revision, Token};

use crate::Principal;
use crate::action::Action;

/// That a principal may do `A` to exactly this resource. Made only by [`crate::Gate`]; neither `Clone` nor
/// constructible elsewhere. It covers one request and is not kept.
#[derive(Debug)]
pub struct Authorized<A: Action> {
    principal: Principal,
    resource: A::Resource,
}

impl<A: Action> Authorized<A> {
    pub(crate) fn new(principal: Principal, resource: A::Resource) -> Self {
        Self { principal, resource }
    }

    /// Who.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// To what: the canonical name that was authorised and that storage will use.
    pub fn resource(&self) -> &A::Resource {
        &self.resource
    }

    /// Takes the resource out.
    pub fn into_resource(self) -> A::Resource {
        self.resource
    }
}

/// A bucket that does not exist yet, in the account that would own it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBucket {
    /// Its name.
    pub name: BucketName,
    /// Its owner.
    pub owner: AccountId,
}

/// A bucket that existed when the gate looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRef {
    /// Its name.
    pub name: BucketName,
    /// Its id: a bucket made later under the same name has another.
    pub id: BucketId,
    /// Its owner.
    pub owner: AccountId,
    /// When it was made.
    pub created_at: types::UnixMillis,
    /// Revision of its directory record.
    pub directory_revision: Revision,
}

impl BucketRef {
    /// The token under which all records of the bucket live.
    pub fn token(&self) -> Token {
        Token::of(&self.id.to_bytes())
    }
}

/// An object's place; whether there is an object is for the engine to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: BucketRef,
    /// The key.
    pub key: ObjectKey,
}
