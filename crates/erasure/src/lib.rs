//! Erasure coding: which bytes of a blob stand in which frame of which shard, and how lost frames
//! come back.
//!
//! Pure: no I/O, no clock, no threads, no environment, no knowledge of drives. The format is ours:
//! the generator matrices and the striping are defined here and in `docs/formats-erasure.md`, and
//! held fast by golden vectors and by a slow reference in the tests. The outside library does one
//! thing, multiplying a slice by a constant of the field with the processor's vector unit (module
//! `gf`); no matrix of its making is used.

mod codec;
mod geometry;
mod gf;
mod matrix;
mod shape;

pub use codec::{Codec, CodecError};
pub use geometry::{Geometry, InvalidGeometry};
pub use matrix::{Matrix, UnknownMatrix};
pub use shape::BlobShape;
