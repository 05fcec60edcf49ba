//! Background work takes turns, and while there is foreground work it takes a bounded share of the time.
//!
//! One lane: at most one piece of background work runs at a time in a process, the more urgent kind first. A
//! piece is small (about a tenth of a second), so that whoever is more urgent never waits long. One that hangs, as
//! a disk may, does not hold the others up for ever: it is left to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Clock;

/// How urgent a piece of background work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Bytes are at risk.
    Repair,
    /// Everything else.
    Upkeep,
}

/// See the module.
pub struct Throttle {
    clock: Arc<dyn Clock>,
    /// Part of the time that background work may take while there is foreground work: above 0, at most 1.
    share: f64,
    lane: Semaphore,
    /// Foreground work under way.
    busy: AtomicU64,
    /// Repairs that wait for a turn.
    urgent: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When foreground work last ended, on the monotonic clock.
    last_busy: Option<Duration>,
    /// No turn begins before this while there is foreground work.
    rest_until: Duration,
    /// Turns begun so far: their numbers.
    turns: u64,
    /// The turn that holds the lane, and when it began.
    current: Option<(u64, Duration)>,
}

/// Foreground work counts as going on for this long after its last piece has ended.
const LINGER: Duration = Duration::from_millis(200);
/// How often one who rests looks whether the foreground has gone quiet.
const LOOK: Duration = Duration::from_millis(20);
/// How long work that is not urgent lets repairs go first, at most.
const YIELD_MAX: Duration = Duration::from_secs(1);
/// A turn that takes longer does not hold the lane any more.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Marks foreground work; ends when dropped.
pub struct Foreground(Arc<Throttle>);

/// The right to do one piece of background work; ends when dropped.
pub struct Turn<'a> {
    throttle: &'a Throttle,
    number: u64,
    began: Duration,
    permit: Option<SemaphorePermit<'a>>,
}

impl Throttle {
    /// `share` is clamped to 1 % to 100 %.
    pub fn new(clock: Arc<dyn Clock>, share: f64) -> Self {
        Self {
            clock,
            share: share.clamp(0.01, 1.0),
            lane: Semaphore::new(1),
            busy: AtomicU64::new(0),
            urgent: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// To be held while a request of a client is served.
    pub fn foreground(self: &Arc<Self>) -> Foreground {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Foreground(self.clone())
    }

    /// Whether there is foreground work, or was a moment ago.
    pub fn is_busy(&self) -> bool {
        let now = self.clock.monotonic();
        let last = self.state.lock().last_busy;
        self.busy.load(Ordering::Acquire) > 0 || last.is_some_and(|last| now < last + LINGER)
    }

    /// Waits for a turn.
    pub async fn turn(&self, urgency: Urgency) -> Turn<'_> {
        let waiting = (urgency == Urgency::Repair).then(|| Waiting::new(&self.urgent));
        let asked = self.clock.monotonic();
        loop {
            let permit = self.place_in_lane().await;
            let now = self.clock.monotonic();
            let yields = urgency != Urgency::Repair
                && self.urgent.load(Ordering::Acquire) > 0
                && now < asked + YIELD_MAX;
            let rest = self.state.lock().rest_until.saturating_sub(now);
            let rests = !rest.is_zero() && self.is_busy();
            if !yields && !rests {
                drop(waiting);
                let mut state = self.state.lock();
                state.turns += 1;
                let number = state.turns;
                state.current = Some((number, now));
                return Turn { throttle: self, number, began: now, permit };
            }
            drop(permit);
            let wait = if yields { LOOK } else { rest.min(LOOK) };
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

impl Throttle {
    /// Waits for the lane; `None` never comes, because the lane is not closed.
    async fn place_in_lane(&self) -> Option<SemaphorePermit<'_>> {
        let mut place = std::pin::pin!(self.lane.acquire());
        loop {
            tokio::select! {
                biased;
                permit = &mut place => return permit.ok(),
                () = self.clock.sleep(TURN_MAX) => self.pass_by(),
            }
        }
    }

    /// Opens the lane if the turn that holds it hangs.
    fn pass_by(&self) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        if state.current.is_some_and(|(_, began)| now >= began + TURN_MAX) {
            state.current = None;
            self.lane.add_permits(1);
        }
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let now = self.0.clock.monotonic();
        self.0.state.lock().last_busy = Some(now);
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = self.throttle.clock.monotonic();
        let worked = now.saturating_sub(self.began).min(TURN_MAX);
        let rest = worked.mul_f64((1.0 - self.throttle.share) / self.throttle.share);
        let mut state = self.throttle.state.lock();
        state.rest_until = state.rest_until.max(now + rest);
        match state.current {
            Some((number, _)) if number == self.number => state.current = None,
            // Its place in the lane was given to another.
            _ => {
                self.permit.take().into_iter().for_each(SemaphorePermit::forget);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimClock;

    fn throttle() -> (Arc<SimClock>, Arc<Throttle>) {
        let clock = Arc::new(SimClock::default());
        (clock.clone(), Arc::new(Throttle::new(clock, 0.2)))
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn alone_it_may_work_all_the_time() {
        let (clock, throttle) = throttle();
        for _ in 0..3 {
            let turn = throttle.turn(Urgency::Upkeep).await;
            clock.advance(Duration::from_secs(1));
            drop(turn);
        }
    }

    #[tokio::test]
    async fn beside_foreground_work_it_rests_four_times_as_long_as_it_worked() {
        let (clock, throttle) = throttle();
        let busy = throttle.foreground();
        let turn = throttle.turn(Urgency::Upkeep).await;
        clock.advance(Duration::from_secs(1));
        drop(turn);
        let next = tokio::spawn({
            let throttle = throttle.clone();
            async move { drop(throttle.turn(Urgency::Repair).await) }
        });
        for _ in 0..39 {
            settle().await;
            clock.advance(Duration::from_millis(100));
        }
        settle().await;
        assert!(!next.is_finished());
        clock.advance(Duration::from_millis(200));
        settle().await;
        next.await.expect("it has rested enough");
        drop(busy);
    }

    #[tokio::test]
    async fn when_the_foreground_goes_quiet_it_goes_on() {
        let (clock, throttle) = throttle();
        let busy = throttle.foreground();
        let turn = throttle.turn(Urgency::Upkeep).await;
        clock.advance(Duration::from_secs(100));
        drop(turn);
        let next = tokio::spawn({
            let throttle = throttle.clone();
            async move { drop(throttle.turn(Urgency::Upkeep).await) }
        });
        settle().await;
        drop(busy);
        clock.advance(LINGER);
        settle().await;
        clock.advance(LOOK);
        settle().await;
        next.await.expect("nobody is disturbed");
    }

    #[tokio::test]
    async fn repairs_go_first() {
        let (clock, throttle) = throttle();
        let turn = throttle.turn(Urgency::Upkeep).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for urgency in [Urgency::Upkeep, Urgency::Repair] {
            let (throttle, order) = (throttle.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _turn = throttle.turn(urgency).await;
                order.lock().push(urgency);
            }));
            settle().await;
        }
        drop(turn);
        while order.lock().len() < 2 {
            settle().await;
            clock.advance(LOOK);
        }
        assert_eq!(*order.lock(), [Urgency::Repair, Urgency::Upkeep]);
        for task in tasks {
            task.await.expect("it is done");
        }
    }

    #[tokio::test]
    async fn one_that_hangs_does_not_hold_up_the_others_for_ever() {
        let (clock, throttle) = throttle();
        let hanging = throttle.turn(Urgency::Upkeep).await;
        let next = tokio::spawn({
            let (throttle, clock) = (throttle.clone(), clock.clone());
            async move {
                let _turn = throttle.turn(Urgency::Repair).await;
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
        settle().await;
        clock.advance(TURN_MAX / 2);
        settle().await;
        assert_eq!(throttle.lane.available_permits(), 0);
        clock.advance(TURN_MAX);
        settle().await;
        clock.advance(Duration::from_secs(1));
        next.await.expect("it was let by");
        assert_eq!(throttle.lane.available_permits(), 1);
        // Whoever hung comes back, and the lane is as wide as it was.
        let other = throttle.turn(Urgency::Repair).await;
        drop(hanging);
        assert_eq!(throttle.lane.available_permits(), 0);
        drop(other);
        assert_eq!(throttle.lane.available_permits(), 1);
    }
}
