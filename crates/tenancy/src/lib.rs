//! Accounts, access keys and the one gate: who may do what to which resource.
//!
//! Only this crate can make an [`Authorized`] proof, and an engine takes its resource from the proof: a
//! handler that forgets to ask does not compile. Policies, users and quotas are not built yet: an account's
//! keys may do everything to its own buckets and nothing to anybody else's.

pub mod account;
pub mod action;
mod credentials;
pub mod directory;
mod gate;
mod proof;

pub use credentials::{AccessKey, Credentials, Principal, Secret};
pub use gate::{Gate, Refusal};
pub use proof::{Authorized, BucketRef, NewBucket, ObjectRef};
