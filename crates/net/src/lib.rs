//! How shards travel between a gateway and the drives: the carrier trait and its implementations.
//!
//! Only the in-process carrier exists so far: a direct call that copies nothing. Engines see [`Carrier`] and
//! never a drive's store; what they need of its vocabulary is re-exported here.

mod carrier;
pub mod conformance;
mod local;

pub use carrier::{Carrier, ShardWriter};
pub use local::LocalCarrier;
pub use shards::{
    Compacted, DriveState, DriveStatus, Frame, Presence, ScrubBudget, ScrubSlice, Scrubbed,
    ShardError, ShardHeader, ShardId, frame,
};
