//! What a background worker is. Not here: running, listing and steering them (`workers`).

use std::time::Duration;

/// What one step of a worker came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do at once.
    More,
    /// Nothing to do for this long.
    Idle(Duration),
}

/// A background loop, cut into small steps.
#[async_trait::async_trait]
pub trait Worker: Send + 'static {
    /// A stable name, as shown to operators and in metrics.
    fn name(&self) -> &'static str;

    /// What it does, in a sentence for people.
    fn about(&self) -> &'static str;

    /// Does a small piece of work. An error or a panic is recorded and the step is tried again after a pause.
    async fn step(&mut self) -> Result<Progress, String>;

    /// Somebody asked for a round at once: called before the next step. Workers whose every step looks whether
    /// there is something to do have nothing to remember.
    fn round_asked(&mut self) {}

    /// How far it is, read after each step.
    fn gauge(&self) -> Gauge {
        Gauge::default()
    }
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Units done since the worker was started; only ever rises.
    pub done: u64,
    /// Where it is in its current round, and how long that round is, in units; `None` when it has no rounds or
    /// does not know.
    pub round: Option<(u64, u64)>,
    /// What the units are: `bytes`, `blobs`, `records`; empty when nothing is counted.
    pub unit: &'static str,
}

#[async_trait::async_trait]
impl Worker for Box<dyn Worker> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn about(&self) -> &'static str {
        (**self).about()
    }

    async fn step(&mut self) -> Result<Progress, String> {
        (**self).step().await
    }

    fn round_asked(&mut self) {
        (**self).round_asked();
    }

    fn gauge(&self) -> Gauge {
        (**self).gauge()
    }
}
