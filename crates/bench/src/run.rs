//! A whole measurement: bucket, preparation, load, report, removal.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::{Clock, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{Outcome, Shared, SplitMix, Worker};
use crate::payload::Source;
use crate::process::Watch;
use crate::report::{Measured, ServerUse, Tallies};
use crate::sign::hex;
use crate::{BenchError, Failure, Operation, Progress, Report, S3BenchConfig};

/// How often progress is shown and memory is sampled.
const TICK: Duration = Duration::from_millis(200);
/// How long requests that are under way at the deadline may take to finish.
const STRAGGLERS: Duration = Duration::from_secs(60);
/// How often a request of the preparation or the removal is tried.
const TRIES: u32 = 5;
/// The pause before the second try; longer each time.
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Measures, and returns what came out.
///
/// Must run on a tokio runtime with its timer and network on; one with a single thread disturbs a
/// server on the same machine least. What was made is removed again, also when the preparation
/// fails, unless the configuration says to keep it; dropping the future leaves it behind.
///
/// # Errors
/// When the endpoint, the bucket, the preparation or the processes to watch stand in the way.
/// Failed requests of the measurement itself are in the report.
pub async fn run_s3(
    config: S3BenchConfig,
    runtime: &Runtime,
    progress: &Progress,
) -> Result<Report, BenchError> {
    config.check()?;
    let watch = Watch::new(config.server_pids.clone());
    watch.cpu()?;
    let prefix = config.prefix.clone().unwrap_or_else(|| {
        let mut id = [0; 4];
        runtime.entropy.fill(&mut id);
        format!("bench-{}/", hex(id))
    });
    let shared = Arc::new(Shared {
        source: Source::new(runtime.entropy.as_ref()),
        runtime: runtime.clone(),
        prefix,
        done: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        next_delete: AtomicU64::new(0),
        config,
    });
    let mut store = shared.store();
    let connected = store.connect().await;
    connected.map_err(|source| BenchError::Connect {
        endpoint: shared.config.endpoint.clone(),
        source,
    })?;
    let made_bucket = store.ensure_bucket().await.map_err(prepare("use or make the bucket"))?;

    let to_prepare = match shared.config.op {
        Operation::Put => 0,
        _ if shared.config.prepared => 0,
        _ => shared.config.objects,
    };
    let mut keys = Keys { prepared: 0..to_prepare, put: Vec::new() };
    let outcome = match prepare_objects(&shared, to_prepare, progress).await {
        Ok(()) => measure(&shared, &watch, progress, &mut keys).await,
        Err(error) => Err(error),
    };
    if shared.config.keep {
        progress.finish();
        return outcome;
    }
    let failures = remove_objects(&shared, keys, progress).await;
    progress.finish();
    if made_bucket && failures == 0 {
        // Somebody else may have put something there meanwhile; then it stays.
        let _ = store.delete_bucket().await;
    }
    outcome.map(|report| Report { not_removed: failures, ..report })
}

fn prepare(what: &'static str) -> impl FnOnce(Failure) -> BenchError {
    move |failure| BenchError::Prepare { what, failure }
}

/// Runs the workers and makes the report; adds what they put to `keys`.
async fn measure(
    shared: &Arc<Shared>,
    watch: &Watch,
    progress: &Progress,
    keys: &mut Keys,
) -> Result<Report, BenchError> {
    let (clock, config) = (&shared.runtime.clock, &shared.config);
    progress.phase("measuring", u64::try_from(config.duration.as_millis()).unwrap_or(u64::MAX));
    shared.done.store(0, Ordering::Relaxed);
    let (give_up, gives_up) = watch::channel(false);
    let cpu_before = watch.cpu()?;
    let began = clock.monotonic();
    let deadline = began + config.duration;
    // Dropped halfway, the set takes its tasks with it. It passes a panic on.
    let workers: JoinSet<Outcome> = (0..config.concurrency)
        .map(|number| Worker::new(shared.clone(), number).run(deadline, gives_up.clone()))
        .collect();
    let mut rss_peak_bytes = watch.resident_bytes();
    let outcomes = while_ticking(clock.as_ref(), workers.join_all(), || {
        let elapsed = clock.monotonic().saturating_sub(began);
        rss_peak_bytes = rss_peak_bytes.max(watch.resident_bytes());
        let (done, failed) = (&shared.done, &shared.failed);
        progress.rate(elapsed, done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        if elapsed > config.duration + STRAGGLERS {
            give_up.send_replace(true);
        }
    })
    .await;
    let seconds = clock.monotonic().saturating_sub(began).as_secs_f64();
    let cpu = watch.cpu().map(|after| after.saturating_sub(cpu_before));
    let mut tallies = Tallies::default();
    for Outcome { worker, tallies: of_one, put } in outcomes {
        tallies.merge(of_one);
        keys.put.push((worker, put));
    }
    if config.op == Operation::Delete {
        // What is left over, and everything if there is doubt about any.
        let deleted = shared.next_delete.load(Ordering::Relaxed).min(config.objects);
        keys.prepared.start = if tallies.failures.is_empty() { deleted } else { 0 };
    }
    let report = report(shared, &tallies, seconds);
    if watch.is_empty() {
        return Ok(report);
    }
    let server = server_use(cpu?, rss_peak_bytes, &report.total);
    Ok(Report { server: Some(server), ..report })
}

fn report(shared: &Shared, tallies: &Tallies, seconds: f64) -> Report {
    let S3BenchConfig { endpoint, bucket, op, size, concurrency, objects, .. } = &shared.config;
    let (total, by_operation) = tallies.measured(seconds);
    let errors_by_kind: BTreeMap<String, u64> =
        tallies.failures.iter().map(|(failure, &count)| (failure.to_string(), count)).collect();
    Report {
        endpoint: endpoint.clone(),
        bucket: bucket.clone(),
        prefix: shared.prefix.clone(),
        op: *op,
        size_bytes: size.0,
        concurrency: *concurrency,
        objects: if *op == Operation::Put { 0 } else { *objects },
        seconds,
        total,
        by_operation,
        keys_listed: (tallies.keys_listed > 0).then_some(tallies.keys_listed),
        errors_by_kind,
        not_removed: 0,
        server: None,
    }
}

fn server_use(cpu: Duration, rss_peak_bytes: u64, total: &Measured) -> ServerUse {
    let cpu_seconds = cpu.as_secs_f64();
    let gib = total.bytes as f64 / (1u64 << 30) as f64;
    ServerUse {
        cpu_seconds,
        cpu_ms_per_request: cpu_seconds * 1e3 / total.requests.max(1) as f64,
        cpu_seconds_per_gib: (total.bytes > 0).then(|| cpu_seconds / gib),
        rss_peak_bytes,
    }
}

/// The objects that this run made.
struct Keys {
    prepared: Range<u64>,
    /// With the number of the worker that put them.
    put: Vec<(usize, Range<u64>)>,
}

impl Keys {
    fn len(&self) -> u64 {
        let put: u64 = self.put.iter().map(|(_, range)| range.end - range.start).sum();
        self.prepared.end - self.prepared.start + put
    }

    /// The key of the `index`th of them.
    fn key(&self, shared: &Shared, mut index: u64) -> String {
        let prepared = self.prepared.end - self.prepared.start;
        if index < prepared {
            return shared.prepared_key(self.prepared.start + index);
        }
        index -= prepared;
        for (worker, range) in &self.put {
            let len = range.end - range.start;
            if index < len {
                return shared.put_key(*worker, range.start + index);
            }
            index -= len;
        }
        // Beyond the end: a key that nobody made.
        shared.put_key(self.put.len(), index)
    }
}

async fn prepare_objects(
    shared: &Arc<Shared>,
    count: u64,
    progress: &Progress,
) -> Result<(), BenchError> {
    let task = Task { keys: Keys { prepared: 0..count, put: Vec::new() }, kind: Kind::Put };
    let (_, failure) = each(shared, task, progress, "preparing").await;
    failure.map_or(Ok(()), |failure| Err(prepare("store the objects to measure with")(failure)))
}

/// Returns how many could not be removed.
async fn remove_objects(shared: &Arc<Shared>, keys: Keys, progress: &Progress) -> u64 {
    each(shared, Task { keys, kind: Kind::Delete }, progress, "removing").await.0
}

struct Task {
    keys: Keys,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
}

/// Does the same to many objects on all connections. Returns how many failed, and the first
/// failure. A preparation stops there.
async fn each(
    shared: &Arc<Shared>,
    task: Task,
    progress: &Progress,
    name: &'static str,
) -> (u64, Option<Failure>) {
    let len = task.keys.len();
    if len == 0 {
        return (0, None);
    }
    progress.phase(name, len);
    let state = Arc::new(EachState {
        shared: shared.clone(),
        task,
        len,
        next: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        first: Mutex::new(None),
    });
    let workers: JoinSet<()> =
        (0..shared.config.concurrency).map(|_| state.clone().work()).collect();
    let clock = shared.runtime.clock.as_ref();
    let tick = || progress.at(state.next.load(Ordering::Relaxed).min(len));
    while_ticking(clock, workers.join_all(), tick).await;
    let first = state.first.lock().unwrap_or_else(PoisonError::into_inner).take();
    (state.failures.load(Ordering::Relaxed), first)
}

struct EachState {
    shared: Arc<Shared>,
    task: Task,
    len: u64,
    next: AtomicU64,
    failures: AtomicU64,
    first: Mutex<Option<Failure>>,
}

impl EachState {
    async fn work(self: Arc<Self>) {
        let shared = &self.shared;
        let mut store = shared.store();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.len {
                return;
            }
            let key = self.task.keys.key(shared, index);
            let mut tries = 1;
            let failure = loop {
                let outcome = match self.task.kind {
                    Kind::Put => {
                        let offset = SplitMix(index).next();
                        let body = shared.source.payload(offset, shared.config.size.0);
                        store.put(&key, body).await
                    }
                    Kind::Delete => store.delete(&key).await,
                };
                match outcome {
                    Ok(()) => break None,
                    Err(failure) if tries == TRIES || is_final(&failure) => break Some(failure),
                    Err(_) => shared.runtime.clock.sleep(PAUSE_BETWEEN_TRIES * tries).await,
                }
                tries += 1;
            };
            let Some(failure) = failure else { continue };
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            if self.task.kind == Kind::Put {
                self.next.store(self.len, Ordering::Relaxed);
            }
        }
    }
}

/// Whether the same request would fail again.
fn is_final(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { status: 400..500, .. })
}

/// Awaits `future` and calls `tick` now and then.
async fn while_ticking<T>(
    clock: &dyn Clock,
    future: impl Future<Output = T>,
    mut tick: impl FnMut(),
) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = clock.sleep(TICK) => tick(),
        }
    }
}
