//! Why a measurement could not be made, and why one request of it failed.

use std::fmt;
use std::io;

use types::ErrorKind;

use crate::Endpoint;

/// Why a measurement could not be made. Requests that fail while it runs are counted in the report
/// instead.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A setting outside its range.
    #[error("{0}")]
    OutOfRange(&'static str),
    /// Nobody answers at the endpoint.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A request needed to prepare the measurement failed.
    #[error("cannot {what}: {failure}")]
    Prepare {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        failure: Failure,
    },
    /// A process to watch is not there or may not be read.
    #[error("cannot read the processor time of process {pid}")]
    Process {
        /// Its id.
        pid: u32,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

impl BenchError {
    /// What the caller must do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange(_) => ErrorKind::Invalid,
            Self::Connect { .. } => ErrorKind::Unavailable,
            Self::Prepare { failure, .. } => match failure {
                Failure::Status { status: 401 | 403, .. } => ErrorKind::Denied,
                Failure::Status { status: 404, .. } => ErrorKind::NotFound,
                Failure::Status { status: 400..500, .. } => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            Self::Process { .. } => ErrorKind::NotFound,
        }
    }
}

/// Why one request failed. The text form is what a report counts by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The connection broke before the whole reply was there.
    Broken,
    /// The service answered with an error.
    Status {
        /// The HTTP status.
        status: u16,
        /// The error code of the XML body; empty when there is none.
        code: String,
    },
    /// A body of another length than the object's.
    WrongLength,
    /// A listing that does not hold what was stored, or cannot be read.
    WrongListing,
    /// Not finished when the time for stragglers was over.
    Unfinished,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Broken => f.write_str("connection broken"),
            Self::Status { status, code } if code.is_empty() => write!(f, "{status}"),
            Self::Status { status, code } => write!(f, "{status} {code}"),
            Self::WrongLength => f.write_str("wrong length"),
            Self::WrongListing => f.write_str("wrong listing"),
            Self::Unfinished => f.write_str("unfinished"),
        }
    }
}
