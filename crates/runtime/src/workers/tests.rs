//! Steering workers whose steps the test releases one by one.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::SimClock;

type Outcome = Result<Progress, String>;
const MINUTE: Duration = Duration::from_secs(60);

/// Each step ends with the next outcome that the test sends; "panic" panics.
struct Puppet {
    outcomes: UnboundedReceiver<Outcome>,
    begun: UnboundedSender<()>,
    rounds: Arc<AtomicU64>,
    done: u64,
}

#[async_trait::async_trait]
impl Worker for Puppet {
    fn name(&self) -> &'static str {
        "puppet"
    }

    fn about(&self) -> &'static str {
        "Does what it is told."
    }

    async fn step(&mut self) -> Outcome {
        let _ = self.begun.send(());
        let outcome = self.outcomes.recv().await.unwrap_or(Ok(Progress::Idle(MINUTE)));
        assert!(outcome != Err("panic".to_owned()), "strings are cut");
        self.done += 10;
        outcome
    }

    fn round_asked(&mut self) {
        self.rounds.fetch_add(1, Ordering::SeqCst);
    }

    fn gauge(&self) -> Gauge {
        Gauge { done: self.done, round: Some((self.done, 1000)), unit: "bytes" }
    }
}

struct Stage {
    clock: Arc<SimClock>,
    workers: Workers,
    outcomes: UnboundedSender<Outcome>,
    begun: UnboundedReceiver<()>,
    rounds: Arc<AtomicU64>,
}

impl Stage {
    async fn new() -> Self {
        let clock = Arc::new(SimClock::default());
        let workers = Workers::new(clock.clone());
        let ((outcomes, receiver), (sender, begun)) = (unbounded_channel(), unbounded_channel());
        let rounds = Arc::new(AtomicU64::new(0));
        workers.start(Puppet {
            outcomes: receiver,
            begun: sender,
            rounds: rounds.clone(),
            done: 0,
        });
        let mut stage = Self { clock, workers, outcomes, begun, rounds };
        stage.step_begins().await;
        stage
    }

    /// Returns when another step has begun.
    async fn step_begins(&mut self) {
        self.begun.recv().await.expect("the worker lives");
    }

    /// Lets the step under way end, and waits until that is noted.
    async fn end(&self, outcome: Outcome) {
        let steps = self.state().steps;
        self.outcomes.send(outcome).expect("the worker lives");
        while self.state().steps == steps {
            tokio::task::yield_now().await;
        }
        settle().await;
    }

    fn state(&self) -> WorkerState {
        self.workers.states()["puppet"].clone()
    }

    fn rests(&mut self) -> bool {
        self.begun.try_recv().is_err()
    }
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_failure_and_a_panic_are_recorded_and_tried_again() {
    let mut stage = Stage::new().await;
    for (outcome, text) in [("no", "no"), ("panic", "a fault of this program: strings are cut")] {
        stage.end(Err(outcome.to_owned())).await;
        let state = stage.state();
        assert_eq!(state.last_error.map(|(_, text)| text), Some(text.to_owned()));
        assert_eq!(state.activity, Activity::Failed(PAUSE_AFTER_ERROR));
        stage.clock.advance(PAUSE_AFTER_ERROR);
        stage.step_begins().await;
        assert_eq!(stage.state().activity, Activity::Running);
    }
    stage.end(Ok(Progress::Idle(MINUTE))).await;
    let state = stage.state();
    assert_eq!((state.steps, state.errors), (3, 2));
    assert_eq!(state.gauge.done, 20, "the failed step counts what it did, the lost one nothing");
    assert!(state.last_error.is_some(), "the last failure stays to be seen");
}

#[tokio::test]
async fn an_idle_worker_runs_when_asked_and_when_its_time_has_come() {
    let mut stage = Stage::new().await;
    stage.end(Ok(Progress::Idle(MINUTE))).await;
    stage.clock.advance(MINUTE / 2);
    settle().await;
    assert_eq!(stage.state().activity, Activity::Idle(MINUTE / 2));
    assert!(stage.rests());
    stage.workers.run_now("puppet").expect("known");
    stage.step_begins().await;
    assert_eq!(stage.rounds.load(Ordering::SeqCst), 1);
    stage.end(Ok(Progress::Idle(MINUTE))).await;
    stage.clock.advance(MINUTE);
    stage.step_begins().await;
    assert_eq!(stage.rounds.load(Ordering::SeqCst), 1, "nobody asked");
}

#[tokio::test]
async fn a_pause_begins_after_the_step_under_way_and_lasts_until_resumed() {
    let mut stage = Stage::new().await;
    stage.workers.pause("puppet").expect("known");
    assert_eq!((stage.state().activity, stage.state().paused), (Activity::Running, true));
    stage.end(Ok(Progress::More)).await;
    assert_eq!(stage.state().activity, Activity::Paused);
    stage.clock.advance(MINUTE * 60);
    settle().await;
    assert!(stage.rests());
    stage.workers.resume("puppet").expect("known");
    stage.step_begins().await;
    assert!(!stage.state().paused);

    stage.end(Ok(Progress::Idle(MINUTE))).await;
    stage.workers.pause("puppet").expect("known");
    assert_eq!(stage.state().activity, Activity::Paused, "also one that was idle");
    stage.clock.advance(MINUTE);
    settle().await;
    assert!(stage.rests());
}

#[tokio::test]
async fn a_paused_worker_does_one_round_when_asked() {
    let mut stage = Stage::new().await;
    stage.workers.pause("puppet").expect("known");
    stage.end(Ok(Progress::More)).await;
    stage.workers.run_now("puppet").expect("known");
    stage.step_begins().await;
    for _ in 0..3 {
        stage.end(Ok(Progress::More)).await;
        stage.step_begins().await;
    }
    assert_eq!((stage.state().activity, stage.state().paused), (Activity::Running, true));
    stage.end(Ok(Progress::Idle(Duration::ZERO))).await;
    assert_eq!(stage.state().activity, Activity::Paused);
    stage.clock.advance(MINUTE);
    settle().await;
    assert!(stage.rests());
    assert_eq!(stage.rounds.load(Ordering::SeqCst), 1);

    stage.workers.run_now("puppet").expect("known");
    stage.step_begins().await;
    stage.workers.pause("puppet").expect("known");
    stage.end(Ok(Progress::More)).await;
    settle().await;
    assert!(stage.rests(), "pausing again ends the round that was asked for");
}

#[tokio::test]
async fn unknown_workers_are_told_apart_and_a_stopped_list_does_nothing() {
    let mut stage = Stage::new().await;
    let error = stage.workers.run_now("pupet").expect_err("unknown");
    assert_eq!(error.to_string(), "there is no worker \"pupet\"; there are: puppet");
    stage.workers.stop();
    assert!(stage.begun.recv().await.is_none(), "it has ended");
}

#[tokio::test]
async fn the_rate_is_that_of_the_last_minute() {
    let mut stage = Stage::new().await;
    for _ in 0..6 {
        stage.clock.advance(Duration::from_secs(10));
        stage.end(Ok(Progress::More)).await;
        stage.step_begins().await;
    }
    assert!((stage.state().rate - 1.0).abs() < 1e-9, "10 bytes in 10 s: {}", stage.state().rate);
    stage.clock.advance(MINUTE * 10);
    assert_eq!(stage.state().rate, 0.0);
    assert_eq!(stage.state().gauge.round, Some((60, 1000)));
}

#[test]
fn samples_do_not_pile_up() {
    let mut samples = Samples::default();
    for second in 0..10_000 {
        samples.note(Duration::from_secs(second), second * 3);
    }
    assert!(samples.noted.len() < 40, "{}", samples.noted.len());
    let rate = samples.rate(Duration::from_secs(10_000), 30_000);
    assert!((rate - 3.0).abs() < 0.2, "{rate}");
}
