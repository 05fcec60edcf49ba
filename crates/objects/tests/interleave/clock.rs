//! A clock that the schedule moves, and that knows who sleeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Clock;
use types::UnixMillis;

use crate::desk::Desk;

/// See the module.
pub struct StepClock {
    desk: Arc<Desk>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    now: Duration,
    next: u64,
    /// By the time of waking and the order of falling asleep: who, and how to wake them.
    sleepers: BTreeMap<(Duration, u64), (usize, Waker)>,
}

impl StepClock {
    /// `desk` knows in whose name a sleep begins.
    pub fn new(desk: Arc<Desk>) -> Self {
        Self { desk, state: Arc::default() }
    }

    /// When the first of `actor`'s sleeps ends; `None` when it does not sleep.
    pub fn wakes(&self, actor: usize) -> Option<Duration> {
        let state = self.state.lock();
        state.sleepers.iter().find(|(_, (who, _))| *who == actor).map(|((at, _), _)| *at)
    }

    /// When the first of all sleeps ends.
    pub fn next(&self) -> Option<Duration> {
        self.state.lock().sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves on to `until`, never back.
    pub fn advance_to(&self, until: Duration) {
        let mut state = self.state.lock();
        state.now = state.now.max(until);
        let now = state.now;
        while state.sleepers.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            if let Some((_, (_, waker))) = state.sleepers.pop_first() {
                waker.wake();
            }
        }
    }
}

#[async_trait::async_trait]
impl Clock for StepClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_767_225_600_000 + self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().now
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.monotonic() + duration;
        let (state, actor) = (self.state.clone(), self.desk.current());
        Sleep { state, actor, until, place: None }.await;
    }
}

struct Sleep {
    state: Arc<Mutex<State>>,
    actor: usize,
    until: Duration,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.state.clone();
        let mut state = shared.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or(state.next);
        if self.place.is_none() {
            state.next += 1;
            self.place = Some(place);
        }
        state.sleepers.insert((self.until, place), (self.actor, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.state.lock().sleepers.remove(&(self.until, place));
        }
    }
}
