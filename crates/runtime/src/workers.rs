//! Runs the background workers of a process, and lets an operator see and steer them.
//!
//! Each worker has one desk: what is known of it, what was asked of it, and how to wake it. Orders take effect
//! between two steps. What was asked is not kept anywhere else: a restarted process runs all its workers. Not
//! here: how often they may work (`throttle`).

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use types::UnixMillis;

use crate::{Clock, Gauge, Progress, Worker};

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A step is under way, or the next begins at once.
    Running,
    /// It has nothing to do and looks again after this long.
    Idle(Duration),
    /// Its last step failed; it is tried again after this long.
    Failed(Duration),
    /// It rests until it is resumed or asked for a round.
    Paused,
}

/// A worker as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerState {
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// What it is doing.
    pub activity: Activity,
    /// Since when it is doing that.
    pub since: UnixMillis,
    /// Whether it was paused. It may still be in the step that it was in, or in a round that was asked for.
    pub paused: bool,
    /// Steps ended since the start, failed ones included.
    pub steps: u64,
    /// Steps that failed.
    pub errors: u64,
    /// The last failure, and when.
    pub last_error: Option<(UnixMillis, String)>,
    /// How far it is, after the last step.
    pub gauge: Gauge,
    /// Units of the gauge per second, over the last minute.
    pub rate: f64,
}

/// There is no worker of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no worker {name:?}; there are: {}", known.join(", "))]
pub struct UnknownWorker {
    /// What was asked for.
    pub name: String,
    /// The names that there are.
    pub known: Vec<&'static str>,
}

/// All workers of a process. Dropping it stops them at their next wait.
pub struct Workers {
    clock: Arc<dyn Clock>,
    all: Mutex<BTreeMap<&'static str, Running>>,
}

struct Running {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);

impl Workers {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, all: Mutex::default() }
    }

    /// Starts `worker` on the current tokio runtime. One of the same name that runs already is stopped.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn start(&self, worker: impl Worker) {
        let name = worker.name();
        let desk = Arc::new(Desk::new(self.clock.clone(), worker.about()));
        let task = tokio::spawn(desk.clone().run(worker));
        if let Some(former) = self.all.lock().insert(name, Running { desk, task }) {
            former.task.abort();
        }
    }

    /// Every worker's state by name.
    pub fn states(&self) -> BTreeMap<&'static str, WorkerState> {
        self.all.lock().iter().map(|(name, running)| (*name, running.desk.state())).collect()
    }

    /// Lets a worker rest, from the end of the step that it is in until it is resumed or the process starts anew.
    ///
    /// # Errors
    /// [`UnknownWorker`], as all orders.
    pub fn pause(&self, name: &str) -> Result<(), UnknownWorker> {
        self.order(name, |orders| *orders = Orders { paused: true, ..Orders::default() })
    }

    /// Ends a pause; the worker looks at once whether there is something to do.
    ///
    /// # Errors
    /// [`UnknownWorker`].
    pub fn resume(&self, name: &str) -> Result<(), UnknownWorker> {
        self.order(name, |orders| (orders.paused, orders.granted) = (false, false))
    }

    /// Asks for a round at once. A paused worker does one, until it has nothing more to do or a step fails, and
    /// rests again.
    ///
    /// # Errors
    /// [`UnknownWorker`].
    pub fn run_now(&self, name: &str) -> Result<(), UnknownWorker> {
        self.order(name, |orders| orders.asked = true)
    }

    /// Stops all workers at their next wait.
    pub fn stop(&self) {
        self.all.lock().values().for_each(|running| running.task.abort());
    }

    fn order(&self, name: &str, give: impl FnOnce(&mut Orders)) -> Result<(), UnknownWorker> {
        let all = self.all.lock();
        let Some(running) = all.get(name) else {
            return Err(UnknownWorker {
                name: name.to_owned(),
                known: all.keys().copied().collect(),
            });
        };
        give(&mut running.desk.inner.lock().orders);
        running.desk.wake.notify_one();
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All about one worker.
struct Desk {
    clock: Arc<dyn Clock>,
    about: &'static str,
    inner: Mutex<Inner>,
    /// Told of each order.
    wake: Notify,
}

struct Inner {
    orders: Orders,
    doing: Doing,
    since: UnixMillis,
    steps: u64,
    errors: u64,
    last_error: Option<(UnixMillis, String)>,
    gauge: Gauge,
    samples: Samples,
}

/// What was asked of a worker.
#[derive(Clone, Copy, Default)]
struct Orders {
    paused: bool,
    /// A round was asked for that has not begun.
    asked: bool,
    /// A paused worker is in a round that was asked for.
    granted: bool,
}

/// What it is doing; the times are of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Stepping,
    IdleUntil(Duration),
    FailedUntil(Duration),
    Resting,
}

impl Desk {
    fn new(clock: Arc<dyn Clock>, about: &'static str) -> Self {
        let inner = Inner {
            orders: Orders::default(),
            doing: Doing::Stepping,
            since: clock.now(),
            steps: 0,
            errors: 0,
            last_error: None,
            gauge: Gauge::default(),
            samples: Samples::default(),
        };
        Self { clock, about, inner: Mutex::new(inner), wake: Notify::new() }
    }

    async fn run(self: Arc<Self>, mut worker: impl Worker) {
        loop {
            let is_asked = self.permission().await;
            let (outcome, gauge) = guarded_step(&mut worker, is_asked).await;
            match self.ended(worker.name(), outcome, gauge) {
                None => tokio::task::yield_now().await,
                Some(rest) => tokio::select! {
                    () = self.clock.sleep(rest) => {}
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    /// Waits until it may do a step; whether that begins a round that was asked for.
    async fn permission(&self) -> bool {
        loop {
            {
                let mut inner = self.inner.lock();
                let orders = &mut inner.orders;
                let is_asked = std::mem::take(&mut orders.asked);
                orders.granted = orders.paused && (orders.granted || is_asked);
                let may = !orders.paused || orders.granted;
                inner.turn_to(if may { Doing::Stepping } else { Doing::Resting }, &*self.clock);
                if may {
                    let (now, done) = (self.clock.monotonic(), inner.gauge.done);
                    inner.samples.note(now, done);
                    return is_asked;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Notes what a step came to; how long to rest, `None` for not at all.
    fn ended(
        &self,
        name: &str,
        outcome: Result<Progress, String>,
        gauge: Option<Gauge>,
    ) -> Option<Duration> {
        let mut inner = self.inner.lock();
        inner.steps += 1;
        inner.gauge = gauge.unwrap_or(inner.gauge);
        let (now, done) = (self.clock.monotonic(), inner.gauge.done);
        inner.samples.note(now, done);
        let (doing, rest) = match outcome {
            Ok(Progress::More) => return None,
            Ok(Progress::Idle(rest)) => (Doing::IdleUntil(now + rest), rest),
            Err(error) => {
                // One that fails in the same way again and again is told of once.
                if inner.last_error.as_ref().is_none_or(|(_, last)| *last != error) {
                    tracing::warn!(
                        worker = name,
                        error,
                        "a background worker failed; it is tried again"
                    );
                }
                inner.errors += 1;
                inner.last_error = Some((self.clock.now(), error));
                (Doing::FailedUntil(now + PAUSE_AFTER_ERROR), PAUSE_AFTER_ERROR)
            }
        };
        inner.orders.granted = false;
        inner.turn_to(doing, &*self.clock);
        Some(rest)
    }

    fn state(&self) -> WorkerState {
        let inner = self.inner.lock();
        let now = self.clock.monotonic();
        let rests = inner.orders.paused && !inner.orders.granted && !inner.orders.asked;
        let activity = match inner.doing {
            Doing::Stepping => Activity::Running,
            _ if rests => Activity::Paused,
            // It has been woken and goes on at once.
            Doing::Resting => Activity::Running,
            Doing::IdleUntil(end) => Activity::Idle(end.saturating_sub(now)),
            Doing::FailedUntil(end) => Activity::Failed(end.saturating_sub(now)),
        };
        WorkerState {
            about: self.about,
            activity,
            since: inner.since,
            paused: inner.orders.paused,
            steps: inner.steps,
            errors: inner.errors,
            last_error: inner.last_error.clone(),
            gauge: inner.gauge,
            rate: inner.samples.rate(now, inner.gauge.done),
        }
    }
}

impl Inner {
    fn turn_to(&mut self, doing: Doing, clock: &dyn Clock) {
        if self.doing != doing {
            (self.doing, self.since) = (doing, clock.now());
        }
    }
}

/// One step. A panic in it is a failure like any other, and the worker is not lost.
async fn guarded_step(
    worker: &mut impl Worker,
    is_asked: bool,
) -> (Result<Progress, String>, Option<Gauge>) {
    let mut step = std::pin::pin!(async {
        if is_asked {
            worker.round_asked();
        }
        let outcome = worker.step().await;
        (outcome, Some(worker.gauge()))
    });
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready((Err(panic_text(&*panic)), None)))
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a fault of this program: {}", text.unwrap_or("it panicked"))
}

/// What a gauge showed, at most every [`Samples::SPACING`], over the last [`Samples::WINDOW`] and once before that.
#[derive(Default)]
struct Samples {
    noted: VecDeque<(Duration, u64)>,
}

impl Samples {
    const SPACING: Duration = Duration::from_secs(2);
    const WINDOW: Duration = Duration::from_secs(60);

    fn note(&mut self, now: Duration, done: u64) {
        if self.noted.back().is_some_and(|(at, _)| now < *at + Self::SPACING) {
            return;
        }
        while self.noted.get(1).is_some_and(|(at, _)| *at + Self::WINDOW <= now) {
            self.noted.pop_front();
        }
        self.noted.push_back((now, done));
    }

    /// Units per second, `done` being those until `now`.
    fn rate(&self, now: Duration, done: u64) -> f64 {
        let is_old = |at: Duration| at + Self::WINDOW <= now;
        let base = self.noted.iter().rev().find(|(at, _)| is_old(*at)).or(self.noted.front());
        let Some(&(at, before)) = base else { return 0.0 };
        let seconds = now.saturating_sub(at).min(Self::WINDOW).as_secs_f64();
        if seconds > 0.0 { done.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests;
