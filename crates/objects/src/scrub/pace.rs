//! How much of a drive is verified when. Pure: times are of the monotonic clock, and nothing here waits.

use std::time::Duration;

use net::ShardId;
use types::{DriveId, UnixMillis};

use crate::schema::scrub::Progress;

/// A slice of every drive is verified at least this often.
pub(super) const SLICE_EVERY_MAX: Duration = Duration::from_secs(300);
/// A drive of which nothing was verified for long makes up for this much at most.
const MAKE_UP_MAX: Duration = Duration::from_secs(3600);
/// Without a time for a pass, the next begins after this.
const REST_MIN: Duration = Duration::from_secs(10);
/// Slices of a short pass.
const SLICES_MIN: u32 = 64;

/// How long one piece of background work should take.
const PIECE: Duration = Duration::from_millis(60);

/// The scrub of one drive.
pub(super) struct Tour {
    pub(super) drive: DriveId,
    pub(super) progress: Progress,
    /// Behind this shard it goes on.
    pub(super) after: Option<ShardId>,
    /// Bytes that the drive has, as it last said.
    pub(super) used: u64,
    /// Somebody asked for the pass under way: it is done without rests.
    pub(super) hurried: bool,
    /// When the last slice began.
    began: Duration,
    /// Time between slices.
    every: Duration,
    /// When the next slice begins.
    due: Duration,
    /// Bytes left of the slice under way.
    left: u64,
    /// When the slice under way is over, whatever is left.
    until: Duration,
}

impl Tour {
    /// Of a drive just come to, with what is recorded of it. Its first slice is due at once.
    pub(super) fn new(drive: DriveId, progress: Progress, now: Duration, every: Duration) -> Self {
        let after = progress.position();
        Self {
            drive,
            after,
            progress,
            used: 0,
            hurried: false,
            began: now.saturating_sub(every),
            every,
            due: now,
            left: 0,
            until: now,
        }
    }

    /// When the next slice begins.
    pub(super) fn due(&self, now: Duration) -> Duration {
        if self.hurried { now } else { self.due }
    }

    /// Asks for a whole pass at once.
    pub(super) fn hurry(&mut self) {
        self.after = None;
        self.hurried = true;
    }

    /// Begins a slice, and a pass if none is under way.
    pub(super) fn begin(&mut self, pass: Duration, now: Duration, wall: UnixMillis) {
        let elapsed = now.saturating_sub(self.began).min(MAKE_UP_MAX);
        let unbounded = self.hurried || pass.is_zero();
        self.left = if unbounded { u64::MAX } else { share(self.used, elapsed, pass) };
        self.began = now;
        self.until = now + SLICE_EVERY_MAX;
        self.every = interval(pass);
        self.due = now + self.every;
        if self.after.is_none() {
            let ended_at_ms = self.progress.ended_at_ms;
            let fresh = Progress { v: 1, began_at_ms: wall, ended_at_ms, ..Progress::default() };
            self.progress = fresh;
        }
    }

    /// Bytes that the next piece may read.
    pub(super) fn piece(&self, most: u64) -> u64 {
        self.left.min(most)
    }

    /// Notes a piece; whether the slice is over.
    pub(super) fn advance(
        &mut self,
        next: Option<ShardId>,
        bytes: u64,
        now: Duration,
        wall: UnixMillis,
    ) -> bool {
        self.progress.bytes += bytes;
        self.after = next;
        self.progress.set_position(next);
        self.left = self.left.saturating_sub(bytes);
        if next.is_none() {
            self.hurried = false;
            self.progress.ended_at_ms = Some(wall);
            self.due = self.due.max(now + REST_MIN.min(self.every));
            return true;
        }
        self.left == 0 || now >= self.until
    }

    /// Breaks the slice off; the next is tried in its turn.
    pub(super) fn give_up(&mut self, now: Duration) {
        self.left = 0;
        self.due = now + self.every;
        self.hurried = false;
    }

    /// Where the pass is, and how long it is, in bytes.
    pub(super) fn round(&self) -> (u64, u64) {
        (self.progress.bytes.min(self.used), self.used)
    }
}

/// Time between the slices of a drive.
pub(super) fn interval(pass: Duration) -> Duration {
    if pass.is_zero() { REST_MIN } else { SLICE_EVERY_MAX.min(pass / SLICES_MIN) }
}

/// What part of `used` bytes is due after `elapsed`, at least one.
fn share(used: u64, elapsed: Duration, pass: Duration) -> u64 {
    let due = u128::from(used) * elapsed.as_millis() / pass.as_millis().max(1);
    u64::try_from(due).unwrap_or(u64::MAX).max(1)
}

/// How large a piece of work may be so that it does not take long: found by trying.
pub(super) struct Size {
    now: u64,
    min: u64,
    max: u64,
}

impl Size {
    /// Between `min` (at least 1) and `max`, beginning with the least.
    pub(super) fn new(min: u64, max: u64) -> Self {
        Self { now: min, min, max }
    }

    /// As it is now.
    pub(super) fn get(&self) -> u64 {
        self.now
    }

    /// A piece of this size took so long.
    pub(super) fn took(&mut self, took: Duration) {
        let twice = self.now.saturating_mul(2);
        let fitting = u128::from(self.now) * PIECE.as_micros() / took.as_micros().max(1);
        let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
        self.now = fitting.min(twice).clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use types::{BlobId, CopyId, SessionId};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const WALL: UnixMillis = UnixMillis(1);

    fn id(sequence: u64) -> ShardId {
        let blob = BlobId { session: SessionId::new(1), sequence };
        ShardId { blob, index: 0, copy: CopyId::new(1) }
    }

    #[test]
    fn a_pass_takes_the_time_that_it_may() {
        for pass in [DAY * 14, DAY / 2, Duration::from_secs(60)] {
            let every = interval(pass);
            assert!(every <= SLICE_EVERY_MAX);
            let mut now = DAY;
            let mut tour = Tour::new(DriveId::new(1), Progress::default(), now, every);
            tour.used = 10 << 40;
            let (begin, mut left) = (now, tour.used);
            while left > 0 {
                assert!(tour.due(now) <= now + SLICE_EVERY_MAX);
                now = tour.due(now).max(now);
                tour.begin(pass, now, WALL);
                loop {
                    let piece = tour.piece(1 << 30).min(left);
                    left -= piece;
                    if tour.advance((left > 0).then(|| id(left)), piece, now, WALL) {
                        break;
                    }
                }
            }
            let took = now - begin;
            assert!(took <= pass && took >= pass - 3 * every, "{took:?} of {pass:?}");
            assert_eq!(tour.round(), (tour.used, tour.used));
        }
    }

    #[test]
    fn small_drives_are_looked_at_in_every_slice_and_late_ones_do_not_flood() {
        let mut tour = Tour::new(DriveId::new(1), Progress::default(), DAY, SLICE_EVERY_MAX);
        tour.begin(14 * DAY, DAY, WALL);
        assert_eq!(tour.piece(100), 1, "an empty drive");
        tour.used = 14 * 24 * 1000;
        tour.begin(14 * DAY, 20 * DAY, WALL);
        assert_eq!(tour.piece(u64::MAX), 1000, "an hour's worth after nineteen days");
    }

    #[test]
    fn a_hurried_pass_begins_anew_and_does_not_rest() {
        let mut tour = Tour::new(DriveId::new(1), Progress::default(), DAY, SLICE_EVERY_MAX);
        tour.used = 100;
        tour.begin(14 * DAY, DAY, WALL);
        assert!(tour.advance(Some(id(5)), 50, DAY, WALL));
        assert!(tour.due(DAY) > DAY);
        tour.hurry();
        assert_eq!(tour.due(DAY), DAY);
        tour.begin(14 * DAY, DAY, WALL);
        assert_eq!((tour.after, tour.progress.bytes), (None, 0));
        assert!(!tour.advance(Some(id(9)), 90, DAY, WALL));
        assert!(tour.advance(Some(id(10)), 5, DAY + SLICE_EVERY_MAX, WALL), "a slice has an end");
        assert_eq!(tour.due(DAY), DAY, "and the next follows at once");
        tour.begin(14 * DAY, DAY, WALL);
        assert!(tour.advance(None, 5, DAY, WALL));
        assert!(tour.due(DAY) > DAY && tour.progress.ended_at_ms == Some(WALL));
    }

    #[test]
    fn without_a_time_passes_follow_each_other_with_a_short_rest() {
        let mut tour = Tour::new(DriveId::new(1), Progress::default(), DAY, Duration::ZERO);
        tour.begin(Duration::ZERO, DAY, WALL);
        assert_eq!(tour.piece(u64::MAX), u64::MAX);
        assert!(tour.advance(None, 5, DAY + DAY, WALL));
        assert_eq!(tour.due(DAY), DAY + DAY + REST_MIN);
    }

    #[test]
    fn pieces_grow_and_shrink_with_the_time_they_take() {
        let mut size = Size::new(4, 1000);
        for _ in 0..10 {
            size.took(Duration::from_millis(1));
        }
        assert_eq!(size.get(), 1000);
        size.took(Duration::from_millis(600));
        assert_eq!(size.get(), 100);
        size.took(Duration::from_secs(60));
        assert_eq!(size.get(), 4);
        size.took(Duration::ZERO);
        assert_eq!(size.get(), 8);
    }
}
