//! Waiting for a server to have put everything right: through its health and its workers, as an operator would.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Server;
use crate::{get, metric, post};

/// The workers that put things right. What one finds is work for those behind it.
const KEEPERS: [&str; 5] = ["scrub", "sweep", "repair", "repair-census", "collect"];

/// Figures that rise when one of them has found something.
const FINDINGS: [&str; 5] = [
    "undercroft_scrub_corrupt_total",
    "undercroft_scrub_missing_total",
    "undercroft_scrub_orphans_total",
    "undercroft_repair_operations_total",
    "undercroft_repaired_copies_total",
];

impl Server {
    /// A metric of the admin face, summed over its labels; 0 when there is none.
    ///
    /// # Panics
    /// When the admin face does not answer.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = get(self.admin(), "/metrics").expect("the admin face answers").text();
        metric(&metrics, name, &[]).unwrap_or(0.0)
    }

    /// The workers as `GET /workers` shows them, by name.
    ///
    /// # Panics
    /// When the admin face does not answer with them.
    pub fn workers(&self) -> BTreeMap<String, Value> {
        let answer = get(self.admin(), "/workers").expect("the admin face answers");
        let all: Value = serde_json::from_slice(&answer.body).expect("workers are JSON");
        let all = all["workers"].as_array().cloned().expect("a list of workers");
        all.into_iter().map(|w| (w["name"].as_str().unwrap_or_default().to_owned(), w)).collect()
    }

    /// Asks a worker for a round at once.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn run_worker(&self, name: &str) {
        let answer = post(self.admin(), &format!("/workers/{name}/run"));
        let answer = answer.expect("the admin face answers");
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }

    /// Asks a worker for a round, and waits until it has nothing more to do.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub fn finish_round(&self, name: &str, limit: Duration) {
        let steps = |worker: &Value| worker["steps"].as_u64().unwrap_or(0);
        let before = self.workers().get(name).map_or(0, steps);
        self.run_worker(name);
        let (begin, mut rests) = (Instant::now(), 0);
        // Twice in a row: between a step that was under way and the round that was asked for it rests for a moment.
        while rests < 2 {
            std::thread::sleep(Duration::from_millis(20));
            let workers = self.workers();
            let worker = &workers[name];
            let is_idle = worker["state"] == "idle" && steps(worker) > before;
            rests = if is_idle { rests + 1 } else { 0 };
            assert!(begin.elapsed() < limit, "{name} does not come to an end: {workers:#?}");
        }
    }

    /// Waits until `/health` says that all is well.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub fn await_healthy(&self, limit: Duration) {
        let begin = Instant::now();
        loop {
            let health = self.health();
            if health["status"] == "healthy" {
                return;
            }
            let log = || self.log();
            assert!(begin.elapsed() < limit, "not well in {limit:?}: {health:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has all drives verified and everything put right, until a whole round finds nothing more. No client may be
    /// writing. How many rounds it took.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub fn quiesce(&self, limit: Duration) -> u32 {
        let begin = Instant::now();
        let mut before = None;
        for round in 1.. {
            KEEPERS.iter().for_each(|name| self.finish_round(name, limit));
            let found = FINDINGS.map(|name| self.metric(name));
            if before == Some(found) && self.health()["status"] == "healthy" {
                return round;
            }
            before = Some(found);
            let health = self.health();
            assert!(begin.elapsed() < limit, "no rest in {limit:?}: {found:?} {health:#}");
        }
        unreachable!("rounds are counted for ever");
    }
}
