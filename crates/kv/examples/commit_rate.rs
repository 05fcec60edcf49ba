//! Durable commits per second of the `lsm` engine, by writers and value size; then point reads and a visit.
//!
//! `cargo run --release -p kv --example commit_rate -- [directory] [seconds per figure]`. Every writer
//! waits for its commit before the next. `plain` batches are one put; `object` batches look like those of
//! a small object: four guards, seven writes. The disk is as good as the directory given.
#![allow(clippy::disallowed_methods, reason = "an example measures real time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::lsm::{Lsm, LsmOptions};
use kv::{Batch, Guard, Key, KeyRange, Kv, Outcome, Step, Write};
use runtime::{Entropy, RealEntropy, Runtime};
use types::{BatchId, SessionId, Token, UnixMillis};

struct Bench {
    store: Arc<Lsm>,
    session: SessionId,
    sequence: AtomicU64,
    number: AtomicU64,
    value: Bytes,
}

fn key(kind: u8, number: u64) -> Key {
    let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Key::data(Token::of(b"bucket"), &[&[kind], &[7; 8], b"photos/", &name]).expect("a key")
}

impl Bench {
    fn plain(&self) -> Batch {
        let mut batch = Batch::default();
        batch.put(key(0, self.number.fetch_add(1, Ordering::Relaxed)), self.value.clone());
        batch
    }

    /// As a small object's: bucket, current object, inline body, counters, reference.
    fn object(&self) -> Batch {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let mut batch = Batch::default();
        batch.guard(Guard::Exists(key(1, 0)));
        batch.guard(Guard::Absent(key(2, number)));
        batch.guard(Guard::Absent(key(3, number)));
        batch.guard(Guard::Absent(key(4, number)));
        batch.put(key(2, number), self.value.slice(..250.min(self.value.len())));
        batch.put(key(3, number), self.value.clone());
        batch.put(key(4, number), Bytes::from_static(&[1; 40]));
        batch.write(Write::Delete(key(5, number)));
        batch.write(Write::Delete(key(6, number)));
        batch.write(Write::Add(key(7, 0), 1));
        batch.write(Write::Add(key(7, 1), self.value.len() as i64));
        batch
    }

    async fn commit(&self, batch: Batch) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let id = BatchId { session: self.session, sequence };
        let outcome = self.store.commit(id, batch).await.expect("commits");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields = after.split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

async fn measure(
    dir: &std::path::Path,
    writers: usize,
    size: usize,
    object: bool,
    length: Duration,
) {
    let place = tempfile::tempdir_in(dir).expect("a directory");
    let store = Lsm::open(place.path(), Runtime::real(), LsmOptions::default()).expect("opens");
    let session = SessionId::new(RealEntropy.nonzero_u64());
    store.open_session(session, "bench", UnixMillis(0)).await.expect("opens");
    let mut value = vec![0; size];
    RealEntropy.fill(&mut value);
    let bench = Arc::new(Bench {
        store: store.clone(),
        session,
        sequence: AtomicU64::new(1),
        number: AtomicU64::new(1),
        value: value.into(),
    });
    let mut first = Batch::default();
    first.put(key(1, 0), Bytes::from_static(b"bucket"));
    bench.commit(first).await;
    let (begin, cpu_begin, before) = (Instant::now(), cpu(), store.status().await.expect("status"));
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                while begin.elapsed() < length {
                    let started = Instant::now();
                    let batch = if object { bench.object() } else { bench.plain() };
                    bench.commit(batch).await;
                    slowest = slowest.max(started.elapsed());
                }
                slowest
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for task in tasks {
        slowest = slowest.max(task.await.expect("runs"));
    }
    let (elapsed, status) = (begin.elapsed().as_secs_f64(), store.status().await.expect("status"));
    let commits = status.commits - before.commits;
    println!(
        "{:6} {size:5} B {writers:4} writers: {:8.0} commits/s, {:5.0} syncs/s, slowest {:6.1} ms, {:5.1} CPU-us/commit",
        if object { "object" } else { "plain" },
        commits as f64 / elapsed,
        (status.syncs - before.syncs) as f64 / elapsed,
        slowest.as_secs_f64() * 1e3,
        (cpu() - cpu_begin).as_secs_f64() * 1e6 / commits as f64,
    );
    if object && writers == 32 {
        reads(&bench).await;
    }
    drop(bench);
    store.close(Duration::from_secs(60)).await.expect("closes");
}

async fn reads(bench: &Bench) {
    let (store, count) = (&bench.store, bench.number.load(Ordering::Relaxed));
    let begin = Instant::now();
    for n in 0..50_000 {
        let found = store.get(&key(2, 1 + n * 7919 % (count - 1))).await.expect("reads");
        assert!(found.is_some());
    }
    println!("get: {:.1} us each", begin.elapsed().as_secs_f64() * 1e6 / 50_000.0);
    let reader = store.snapshot().await.expect("a snapshot");
    let range = KeyRange::prefix(&Key::data(Token::of(b"bucket"), &[&[2]]).expect("a key"));
    let (begin, mut seen) = (Instant::now(), 0u64);
    let visit = &mut |_: &[u8], _: &[u8], _| {
        seen += 1;
        Step::Next
    };
    reader.visit(&range, visit).await.expect("visits");
    println!("visit: {:.0} entries/s over {seen}", seen as f64 / begin.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    for object in [false, true] {
        for size in [250, 4096] {
            for writers in [1, 8, 32, 128] {
                measure(&dir, writers, size, object, Duration::from_secs(seconds)).await;
            }
        }
    }
}
