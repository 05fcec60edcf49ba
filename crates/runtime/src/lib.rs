//! Our one door to nondeterminism: clock, entropy, disk, threads and background workers.
//!
//! Every other crate takes what it needs of these as handles, so that a simulator can stand in for all of
//! them. Not here: the network (crate `net`) and the libraries that are exempt by name (`ARCHITECTURE.md`).

mod clock;
pub mod disk;
mod entropy;
mod thread;
mod throttle;
mod worker;
mod workers;

use std::sync::Arc;

pub use clock::{Clock, RealClock, SimClock};
pub use entropy::{Entropy, RealEntropy, SimEntropy};
pub use thread::{Thread, spawn_thread};
pub use throttle::{Foreground, Throttle, Turn, Urgency};
pub use worker::{Gauge, Progress, Worker};
pub use workers::{Activity, UnknownWorker, WorkerState, Workers};

/// The handles that nearly every component needs, passed as one.
#[derive(Clone)]
pub struct Runtime {
    /// Wall-clock and monotonic time, and sleeping.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
}

impl Runtime {
    /// The operating system's clock and entropy.
    pub fn real() -> Self {
        Self { clock: Arc::new(RealClock::new()), entropy: Arc::new(RealEntropy) }
    }

    /// A clock that stands still until told, and entropy from `seed`.
    pub fn simulated(seed: u64) -> Self {
        Self { clock: Arc::new(SimClock::default()), entropy: Arc::new(SimEntropy::new(seed)) }
    }
}
