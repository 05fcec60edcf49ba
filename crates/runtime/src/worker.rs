//! Background workers: one trait, one throttle, one list that an operator can see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use types::UnixMillis;

use crate::Clock;

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

    /// Does a small piece of work. An error is recorded and the step is tried again after a pause.
    async fn step(&mut self) -> Result<Progress, String>;

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

    fn gauge(&self) -> Gauge {
        (**self).gauge()
    }
}

/// A worker as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerState {
    /// Steps done since the start.
    pub steps: u64,
    /// Steps that failed.
    pub errors: u64,
    /// The last failure, and when.
    pub last_error: Option<(UnixMillis, String)>,
    /// Whether the last step said that there is more to do.
    pub busy: bool,
}

/// All workers of a process. Dropping it stops them at their next wait.
pub struct Workers {
    clock: Arc<dyn Clock>,
    states: Arc<Mutex<BTreeMap<&'static str, WorkerState>>>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);

impl Workers {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, states: Arc::default(), tasks: Mutex::default() }
    }

    /// Starts `worker` on the current tokio runtime.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn start(&self, mut worker: impl Worker) {
        let (clock, states, name) = (self.clock.clone(), self.states.clone(), worker.name());
        states.lock().insert(name, WorkerState::default());
        let task = tokio::spawn(async move {
            loop {
                let outcome = worker.step().await;
                let pause = {
                    let mut states = states.lock();
                    let state = states.entry(name).or_default();
                    state.steps += 1;
                    state.busy = outcome == Ok(Progress::More);
                    match outcome {
                        Ok(Progress::More) => Duration::ZERO,
                        Ok(Progress::Idle(pause)) => pause,
                        Err(error) => {
                            state.errors += 1;
                            state.last_error = Some((clock.now(), error));
                            PAUSE_AFTER_ERROR
                        }
                    }
                };
                match pause {
                    Duration::ZERO => tokio::task::yield_now().await,
                    pause => clock.sleep(pause).await,
                }
            }
        });
        self.tasks.lock().push(task);
    }

    /// Every worker's state by name.
    pub fn states(&self) -> BTreeMap<&'static str, WorkerState> {
        self.states.lock().clone()
    }

    /// Stops all workers at their next wait.
    pub fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimClock;

    struct Failing;

    #[async_trait::async_trait]
    impl Worker for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn about(&self) -> &'static str {
            "fails"
        }

        async fn step(&mut self) -> Result<Progress, String> {
            Err("no".to_owned())
        }
    }

    #[tokio::test]
    async fn a_failing_worker_is_recorded_and_tried_again() {
        let clock = Arc::new(SimClock::default());
        let workers = Workers::new(clock.clone());
        workers.start(Failing);
        while workers.states()["failing"].errors < 3 {
            clock.advance(PAUSE_AFTER_ERROR);
            tokio::task::yield_now().await;
        }
        let state = &workers.states()["failing"];
        assert_eq!(state.last_error.as_ref().map(|(_, text)| text.as_str()), Some("no"));
    }
}
