//! Repair: makes blobs whole again.

mod file;

pub(crate) use file::Finding;
