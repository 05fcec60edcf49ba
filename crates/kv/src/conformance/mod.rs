//! The suite that every engine of [`Kv`](crate::Kv) passes. It knows no engine.
