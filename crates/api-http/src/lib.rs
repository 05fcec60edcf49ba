//! The admin listener: health as JSON and metrics in Prometheus' text format.
//!
//! It serves operators and their tools on an address of its own, without authentication, and therefore on
//! loopback unless told otherwise. It can read figures and nothing else: no object, no key, no secret. What
//! it reports comes through [`Source`], so that it knows neither drives nor the metadata store.

mod connections;
mod health;
mod metrics;
mod report;
mod server;

pub use health::{Assessment, Status, assess};
pub use metrics::{InstallError, MetricsHandle, Upkeep};
pub use report::{
    DriveReport, DriveState, MetadataReport, NodeReport, NodeState, RedundancyReport, Report,
    Source,
};
pub use server::{AdminServer, ServeError};
