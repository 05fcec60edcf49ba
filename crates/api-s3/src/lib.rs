//! The S3 face: HTTP requests in, calls of the object engine out.
//!
//! A request passes, in this order and without exception: the [`gate`] (what every request must be), admission
//! (how many at once), the [`verifier`] (who signed), its operation in [`ops`] (which cannot call the engine without
//! a proof from `tenancy`), and [`reply`]. Errors become S3 codes in [`mapping`]. What S3 has and this server has not
//! is one table, [`unbuilt`].
//!
//! Not here: storage, permissions, metadata. Nothing in this crate touches `kv` or a drive.
//!
//! Choices that AWS does not force:
//! * An object gets a checksum only when the client declares one.
//! * A bucket that its owner creates again is `BucketAlreadyOwnedByYou` (409) in every region.
//! * No room is 507 `XMinioStorageFull`: no client repeats a 507 by itself.
//! * A write whose outcome nobody knows is 503 `ServiceUnavailable`, and its message says so.
//! * An account's twelve digits are also its canonical user id.
//!
//! Logs: target `api_s3::access` has one line a request; `api_s3` is this crate's own. s3s logs every refused
//! signature under the target `s3s` at level error, and opens spans at level info: `s3s=off` belongs into the
//! filter of every log that users see.

mod address;
mod body;
mod call;
mod config;
mod copy_source;
mod dates;
mod error;
pub mod fuzzing;
mod gate;
mod headers;
mod idle_io;
mod mapping;
mod ops;
mod pages;
mod query;
mod reply;
mod route;
mod server;
mod service;
mod telemetry;
mod unbuilt;
mod verifier;
mod wire;
mod xml;

pub use config::{S3Config, S3Limits};
pub use server::serve;
pub use telemetry::{METRICS, describe_metrics};

#[cfg(test)]
mod tests;
