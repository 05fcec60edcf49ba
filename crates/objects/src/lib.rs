//! The object engine: buckets, objects, listings, copies and multipart uploads over erasure-coded blobs.
//!
//! It knows no HTTP, XML or S3 wire form. What it is asked for comes as typed requests, what it may do it as
//! by a proof from `tenancy`, and the resource is always the proof's. The bytes go to drives through
//! `net::Carrier`; everything small is a record in `kv`, whose key space is [`schema::Kind`].

mod blob;
mod body;
mod buckets;
pub mod check;
mod collect;
mod commit;
mod conditions;
mod copy;
mod damage;
mod delete;
mod digest;
mod engine;
mod error;
mod get;
mod ledger;
mod list;
mod model;
mod multipart;
mod parts;
mod put;
mod reads;
mod reencode;
mod repair;
pub mod schema;
mod scrub;
mod selection;
mod stream;
mod tour;
mod upkeep;

pub use collect::{Orphan, OrphanJudge};
pub use digest::{ChecksumAlgorithm, ChecksumKind, ChecksumValue};
pub use engine::{Engine, EngineConfig, EngineMetrics};
pub use error::*;
pub use model::*;
pub use scrub::ScrubMetrics;
pub use upkeep::UpkeepOptions;
