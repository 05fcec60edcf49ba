//! One drive's shard store: it knows bytes, not objects or peers.
//!
//! A shard is one of the `k + m` pieces of a blob: a header and a run of checksummed frames, written once
//! and never changed. Small shards share append-only segment files; large ones (from
//! `types::limits::SHARD_FILE_MIN_BYTES` of payload) have a file of their own. See `docs/formats.md` for every byte.

mod cache;
pub mod check;
pub mod codec;
mod compact;
mod direct;
mod drive;
mod error;
mod files;
pub mod frame;
mod identity;
mod pool;
mod quarantine;
mod scrub;
mod segments;
mod shard;
mod sink;
mod store;

pub use error::OpenError;
pub use frame::Frame;
pub use identity::{DRIVE_VERSION, Identity};
pub use shard::{
    Compacted, DriveState, DriveStatus, Presence, ScrubBudget, ScrubSlice, Scrubbed, ShardError,
    ShardHeader, ShardId,
};
pub use sink::ShardSink;
pub use store::{Store, StoreOptions};
