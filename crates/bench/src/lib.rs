//! A load generator for S3 endpoints, ours or another's.
//!
//! It knows no server's inside: everything goes over HTTP/1.1 with SigV4 of its own making, on one
//! persistent connection per worker, with as little work per request as it can, because it often
//! shares its processors with the server that it measures. Not here: the command line (the binary
//! owns it) and transport encryption (an `https` endpoint is refused with a clear error).

mod config;
mod connection;
mod error;
mod load;
mod payload;
mod process;
mod progress;
mod report;
mod run;
mod sign;
mod store;
mod xml;

pub use config::{
    ByteSize, Credentials, Endpoint, InvalidEndpoint, InvalidText, Operation, S3BenchConfig, Span,
};
pub use error::{BenchError, Failure};
pub use progress::Progress;
pub use report::{Latency, Measured, Report, ServerUse};
pub use run::run_s3;
