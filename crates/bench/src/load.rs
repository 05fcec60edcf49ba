//! The workers: one connection each, one request at a time, until the time is over.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::Runtime;
use tokio::sync::watch;

use crate::connection::Connection;
use crate::payload::Source;
use crate::report::Tallies;
use crate::store::Store;
use crate::{Failure, Operation, S3BenchConfig};

/// A worker waits this long after a failed request, so that a server in trouble is not stormed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
/// And this long when it could not even connect.
const PAUSE_AFTER_CONNECT: Duration = Duration::from_millis(100);

/// What all workers of a run share.
pub(crate) struct Shared {
    pub(crate) config: S3BenchConfig,
    pub(crate) runtime: Runtime,
    pub(crate) source: Source,
    /// What all keys begin with.
    pub(crate) prefix: String,
    /// Requests done and failed in this phase, for the progress bar.
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The next prepared object that nobody has deleted yet.
    pub(crate) next_delete: AtomicU64,
}

impl Shared {
    /// A store on a connection of its own.
    pub(crate) fn store(&self) -> Store {
        let S3BenchConfig { endpoint, bucket, credentials, region, sign_payload, .. } =
            &self.config;
        let clock = self.runtime.clock.clone();
        let connection =
            Connection::new(endpoint, credentials.clone(), region, *sign_payload, clock);
        Store::new(connection, bucket, region)
    }

    /// The key of a prepared object.
    pub(crate) fn prepared_key(&self, index: u64) -> String {
        format!("{}o{index:010}", self.prefix)
    }

    /// What the keys of all prepared objects, and of no others, begin with.
    fn prepared_prefix(&self) -> String {
        format!("{}o", self.prefix)
    }

    /// The key of an object that a worker puts while it is measured.
    pub(crate) fn put_key(&self, worker: usize, index: u64) -> String {
        format!("{}w{worker:04}-{index:010}", self.prefix)
    }
}

/// What a worker leaves when its time is over.
pub(crate) struct Outcome {
    /// The worker's number.
    pub(crate) worker: usize,
    pub(crate) tallies: Tallies,
    /// The objects that it put and may not have deleted.
    pub(crate) put: Range<u64>,
}

/// A worker of the measured phase.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    store: Store,
    random: SplitMix,
    tallies: Tallies,
    put: Range<u64>,
    /// Where the listing stands, and the keys seen on its pages so far.
    page: (Option<String>, u64),
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Self {
        let random = SplitMix(shared.runtime.entropy.nonzero_u64());
        let (store, tallies) = (shared.store(), Tallies::default());
        Self { shared, number, store, random, tallies, put: 0..0, page: (None, 0) }
    }

    /// Works until `deadline` on the monotonic clock, or until `give_up` breaks off what is under
    /// way. At least one request is made while there is something to do.
    pub(crate) async fn run(
        mut self,
        deadline: Duration,
        mut give_up: watch::Receiver<bool>,
    ) -> Outcome {
        let clock = self.shared.runtime.clock.clone();
        let mut began = clock.monotonic();
        while let Some(step) = self.next() {
            let op = step.operation();
            let outcome = tokio::select! {
                biased;
                outcome = self.perform(step) => outcome,
                // An error means that nobody can give up any more; that does not happen while
                // workers run.
                _ = give_up.changed() => Err(Failure::Unfinished),
            };
            match outcome {
                Ok(bytes) => {
                    self.tallies.success(op, clock.monotonic().saturating_sub(began), bytes);
                    self.shared.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure) => {
                    let pause = match failure {
                        Failure::Connect => PAUSE_AFTER_CONNECT,
                        _ => PAUSE_AFTER_FAILURE,
                    };
                    self.tallies.failure(op, failure);
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    clock.sleep(pause).await;
                }
            }
            began = clock.monotonic();
            if began >= deadline || *give_up.borrow() {
                break;
            }
        }
        if !self.tallies.failures.is_empty() {
            // A failed delete may have left its object.
            self.put.start = 0;
        }
        Outcome { worker: self.number, tallies: self.tallies, put: self.put }
    }

    /// What to do next; `None` when everything is done.
    fn next(&mut self) -> Option<Step> {
        let objects = self.shared.config.objects;
        Some(match self.shared.config.op {
            Operation::Put => self.put_next(),
            Operation::Get => Step::Get(self.random.below(objects)),
            Operation::List => Step::List,
            Operation::Delete => {
                let index = self.shared.next_delete.fetch_add(1, Ordering::Relaxed);
                if index >= objects {
                    return None;
                }
                Step::Delete(self.shared.prepared_key(index))
            }
            Operation::Mixed => match self.random.below(10) {
                0..7 => Step::Get(self.random.below(objects)),
                7..9 => self.put_next(),
                _ if self.put.is_empty() => Step::List,
                _ => {
                    self.put.start += 1;
                    Step::Delete(self.shared.put_key(self.number, self.put.start - 1))
                }
            },
        })
    }

    fn put_next(&mut self) -> Step {
        self.put.end += 1;
        Step::Put(self.shared.put_key(self.number, self.put.end - 1))
    }

    /// Returns the bytes of bodies that were moved.
    async fn perform(&mut self, step: Step) -> Result<u64, Failure> {
        let size = self.shared.config.size.0;
        match step {
            Step::Put(key) => {
                let body = self.shared.source.payload(self.random.next(), size);
                self.store.put(&key, body).await.map(|()| size)
            }
            Step::Get(index) => {
                let key = self.shared.prepared_key(index);
                self.store.get(&key, size).await.map(|()| size)
            }
            Step::Delete(key) => self.store.delete(&key).await.map(|()| 0),
            Step::List => self.list().await,
        }
    }

    /// Asks for the next page; at the last one, all prepared keys must have been seen.
    async fn list(&mut self) -> Result<u64, Failure> {
        // Whatever goes wrong, the next listing begins at the beginning.
        let (from, seen) = std::mem::take(&mut self.page);
        let page = self.store.list(&self.shared.prepared_prefix(), from.as_deref()).await?;
        self.tallies.keys_listed += page.keys;
        let seen = seen + page.keys;
        match page.next {
            Some(next) => self.page = (Some(next), seen),
            None if seen != self.shared.config.objects => return Err(Failure::WrongListing),
            None => {}
        }
        Ok(page.len)
    }
}

/// One request.
enum Step {
    Put(String),
    Get(u64),
    Delete(String),
    List,
}

impl Step {
    fn operation(&self) -> Operation {
        match self {
            Self::Put(_) => Operation::Put,
            Self::Get(_) => Operation::Get,
            Self::Delete(_) => Operation::Delete,
            Self::List => Operation::List,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): which object comes next need not be a secret.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}
