//! Tests of the whole face: a server on a free port, over a real engine in temporary directories, spoken to in raw
//! HTTP by a signer of its own.

#![allow(clippy::disallowed_methods, reason = "tests use the file system directly")]

mod attacks_e2e;
mod matrix;
mod objects_e2e;
mod server_e2e;
mod support;
