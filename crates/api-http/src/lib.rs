//! The admin listener: health as JSON, metrics in Prometheus' text format, and the background workers.
//!
//! It serves operators and their tools on an address of its own, without authentication, and therefore on
//! loopback unless told otherwise. It can read figures and steer background workers, and nothing else: no object,
//! no key, no secret. What it reports comes through [`Source`], so that it knows neither drives nor the metadata
//! store.

mod connections;
mod health;
mod metrics;
mod report;
mod server;
mod workers;

pub use health::{Assessment, Status, assess};
pub use metrics::{InstallError, MetricsHandle, Upkeep};
pub use report::{
    DriveReport, DriveState, MetadataReport, NodeReport, NodeState, Order, RedundancyReport,
    Report, Source, WorkerReports,
};
pub use server::{AdminServer, ServeError};
