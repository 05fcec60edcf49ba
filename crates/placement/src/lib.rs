//! Placement: a layout goes in, an ordered list of drives comes out.
//!
//! Pure: no I/O, no clock, no randomness, no floating point, so that every node of a cluster,
//! whatever its processor, gets the same answer from the same layout. It knows nothing of shards,
//! health or free space beyond the `up` function that it is handed, and it is a rule for *new*
//! copies: where the copies of a blob are is recorded with the blob.

mod layout;
mod rank;

pub use layout::{Drive, DriveRole, Layout, LayoutError, Override};
