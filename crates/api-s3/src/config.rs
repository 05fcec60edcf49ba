//! What the S3 face is made of, and its limits.

use std::sync::Arc;
use std::time::Duration;

use objects::Engine;
use runtime::Runtime;
use tenancy::{Credentials, Gate};

/// What the S3 face is made of.
pub struct S3Config {
    /// Where the objects are.
    pub engine: Engine,
    /// Who may do what.
    pub gate: Gate,
    /// The access keys that may sign.
    pub credentials: Arc<Credentials>,
    /// The region that requests must be signed for, and that buckets report.
    pub region: String,
    /// Base domains of virtual-host style (`BUCKET.DOMAIN`), without a port. Path style is always understood.
    /// `["localhost"]` is a good value when none is configured.
    pub domains: Vec<String>,
    /// Clock and entropy.
    pub runtime: Runtime,
    /// Limits.
    pub limits: S3Limits,
}

/// Limits of the S3 face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Limits {
    /// Connections at once; further ones are told to slow down and closed.
    pub max_connections: usize,
    /// Requests at once, each from its admission to the last byte of its reply; at most as many again may wait.
    pub max_in_flight: usize,
    /// How long a request may wait for its turn before it is told to slow down.
    pub admission_wait: Duration,
    /// How long a client may take to send a request's head, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may pause within a body.
    pub body_idle: Duration,
    /// How long a client may read nothing of a reply.
    pub write_idle: Duration,
    /// How long requests under way may take to end after the shutdown began.
    pub drain: Duration,
    /// Longest head of a request in bytes.
    pub max_head_bytes: usize,
    /// Bytes of XML documents that may be held in memory at once.
    pub xml_memory_bytes: usize,
    /// Bytes of listings that may be held in memory at once, from before they are made until they are sent.
    pub page_memory_bytes: usize,
}

impl Default for S3Limits {
    fn default() -> Self {
        Self {
            max_connections: 2048,
            max_in_flight: 512,
            admission_wait: Duration::from_secs(5),
            header_timeout: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            write_idle: Duration::from_secs(60),
            drain: Duration::from_secs(8),
            max_head_bytes: 64 * 1024,
            xml_memory_bytes: 64 << 20,
            page_memory_bytes: 64 << 20,
        }
    }
}
