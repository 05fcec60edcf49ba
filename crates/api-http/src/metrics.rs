//! Metrics: the process's one recorder, and the gauges that are read afresh for each scrape.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use runtime::{Progress, Worker, WorkerState};

use crate::report::{DriveState, Report};
use crate::{health, workers};

/// The recorder could not be installed: there is one already, or a bucket list is wrong.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct InstallError(#[from] BuildError);

/// Renders what has been recorded.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
}

/// Bounds of duration histograms in seconds: from a record read from memory to a slow multi-gigabyte upload.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

impl MetricsHandle {
    /// Installs the recorder for the whole process. Once.
    ///
    /// # Errors
    /// [`InstallError`] the second time.
    pub fn install(version: &'static str) -> Result<Self, InstallError> {
        let prometheus = builder()?.install_recorder()?;
        describe();
        ::metrics::gauge!("undercroft_build_info", "version" => version).set(1.0);
        Ok(Self { prometheus })
    }

    /// Brings the gauges of `report` up to date and renders everything.
    pub(crate) fn render(&self, report: &Report) -> String {
        record(report);
        self.prometheus.render()
    }

    /// The worker that keeps histograms from growing between scrapes.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep { prometheus: self.prometheus.clone() }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

/// Folds recorded samples into their histograms every few seconds.
pub struct Upkeep {
    prometheus: PrometheusHandle,
}

#[async_trait::async_trait]
impl Worker for Upkeep {
    fn name(&self) -> &'static str {
        "metrics-upkeep"
    }

    fn about(&self) -> &'static str {
        "Folds recorded samples into histograms."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        self.prometheus.run_upkeep();
        Ok(Progress::Idle(Duration::from_secs(5)))
    }
}

fn describe() {
    use ::metrics::{describe_counter, describe_gauge};
    describe_gauge!("undercroft_build_info", "1, labelled with the version");
    describe_gauge!("undercroft_health", "2 healthy, 1 degraded, 0 unhealthy");
    describe_gauge!("undercroft_objects_total", "Objects in all buckets");
    describe_gauge!("undercroft_objects_under_replicated", "Blobs that lack some of their shards");
    describe_gauge!(
        "undercroft_drives_may_be_lost",
        "Drives that may be lost now without losing data"
    );
    describe_counter!("undercroft_repair_operations_total", "Repair tasks filed");
    describe_gauge!("undercroft_node_disk_usage_bytes", "Bytes of live shards, by node and drive");
    describe_gauge!(
        "undercroft_node_disk_capacity_bytes",
        "Size of the file system, by node and drive"
    );
    describe_gauge!("undercroft_node_disk_available_bytes", "Free bytes, by node and drive");
    describe_gauge!("undercroft_node_shards", "Live shards, by node and drive");
    describe_gauge!(
        "undercroft_node_disk_quarantine_bytes",
        "Bytes that could not be understood and are kept, by node and drive"
    );
    describe_gauge!(
        "undercroft_objects_unrecoverable",
        "Blobs that have too few whole shards to be read"
    );
    describe_gauge!("undercroft_drive_state", "1 for the state that the drive is in");
    describe_gauge!("undercroft_metadata_replicas", "Copies of every metadata record");
    describe_gauge!("undercroft_metadata_disk_bytes", "Bytes of the metadata store on disk");
    describe_gauge!("undercroft_worker_state", "1 for the state that the worker is in");
    describe_counter!("undercroft_worker_steps_total", "Steps that the worker has ended");
    describe_counter!("undercroft_worker_errors_total", "Steps of the worker that failed");
    describe_counter!("undercroft_worker_done_total", "Units of work done, by worker and unit");
    describe_gauge!("undercroft_worker_rate", "Units per second over the last minute");
}

fn record(report: &Report) {
    use ::metrics::{counter, gauge};
    for node in &report.nodes {
        for drive in &node.drives {
            let labels = [("node", node.name.clone()), ("drive", drive.id.to_string())];
            gauge!("undercroft_node_disk_usage_bytes", &labels).set(drive.used_bytes as f64);
            gauge!("undercroft_node_disk_capacity_bytes", &labels).set(drive.capacity_bytes as f64);
            gauge!("undercroft_node_disk_available_bytes", &labels)
                .set(drive.available_bytes as f64);
            gauge!("undercroft_node_shards", &labels).set(drive.shards as f64);
            gauge!("undercroft_node_disk_quarantine_bytes", &labels)
                .set(drive.quarantine_bytes as f64);
            for state in [DriveState::Up, DriveState::Suspect, DriveState::Full, DriveState::Away] {
                let [node, drive_id] = labels.clone();
                let labels = [node, drive_id, ("state", state.as_str().to_owned())];
                let value = if state == drive.state { 1.0 } else { 0.0 };
                gauge!("undercroft_drive_state", &labels).set(value);
            }
        }
    }
    let assessment = health::assess(report);
    let health = match assessment.status {
        health::Status::Healthy => 2.0,
        health::Status::Degraded => 1.0,
        health::Status::Unhealthy => 0.0,
    };
    gauge!("undercroft_health").set(health);
    gauge!("undercroft_drives_may_be_lost").set(f64::from(assessment.drives_may_be_lost_now));
    let under_replicated = report.redundancy.under_replicated as f64;
    gauge!("undercroft_objects_under_replicated").set(under_replicated);
    gauge!("undercroft_objects_unrecoverable").set(report.redundancy.unrecoverable as f64);
    gauge!("undercroft_metadata_replicas").set(f64::from(report.metadata.replicas));
    gauge!("undercroft_metadata_disk_bytes").set(report.metadata.disk_bytes as f64);
    if let Some(objects) = report.objects {
        gauge!("undercroft_objects_total").set(objects as f64);
    }
    report.workers.iter().for_each(|(name, state)| record_worker(name, state));
    for (name, value) in &report.counters {
        counter!(*name).absolute(*value);
    }
    for (name, value) in &report.gauges {
        gauge!(*name).set(*value as f64);
    }
}

fn record_worker(name: &'static str, state: &WorkerState) {
    use ::metrics::{counter, gauge};
    for word in workers::ACTIVITY_WORDS {
        let value = if word == workers::activity_word(state.activity) { 1.0 } else { 0.0 };
        gauge!("undercroft_worker_state", "worker" => name, "state" => word).set(value);
    }
    counter!("undercroft_worker_steps_total", "worker" => name).absolute(state.steps);
    counter!("undercroft_worker_errors_total", "worker" => name).absolute(state.errors);
    let unit = state.gauge.unit;
    if !unit.is_empty() {
        let done = state.gauge.done;
        counter!("undercroft_worker_done_total", "worker" => name, "unit" => unit).absolute(done);
        gauge!("undercroft_worker_rate", "worker" => name, "unit" => unit).set(state.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_rendered_under_the_documented_names() {
        let recorder = builder().expect("the buckets are not empty").build_recorder();
        let handle = MetricsHandle { prometheus: recorder.handle() };
        let mut report = health::tests::report(&[DriveState::Up, DriveState::Away], 1);
        report.counters.push(("undercroft_repair_operations_total", 5));
        report.workers.insert("scrub", health::tests::worker(runtime::Activity::Paused, None));
        let text = ::metrics::with_local_recorder(&recorder, || {
            ::metrics::histogram!("undercroft_http_request_duration_seconds").record(0.002);
            handle.render(&report)
        });
        for line in [
            "undercroft_objects_total 4",
            "undercroft_objects_under_replicated 0",
            "undercroft_repair_operations_total 5",
            "undercroft_http_request_duration_seconds_bucket{le=\"0.0025\"} 1",
            "undercroft_health 1",
            "undercroft_worker_state{worker=\"scrub\",state=\"paused\"} 1",
            "undercroft_worker_state{worker=\"scrub\",state=\"running\"} 0",
            "undercroft_worker_steps_total{worker=\"scrub\"} 7",
            "undercroft_worker_errors_total{worker=\"scrub\"} 2",
            "undercroft_worker_done_total{worker=\"scrub\",unit=\"bytes\"} 9",
            "undercroft_worker_rate{worker=\"scrub\",unit=\"bytes\"} 1.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let usage =
            "undercroft_node_disk_usage_bytes{node=\"node-1\",drive=\"0000000000000001\"} 10";
        assert!(text.contains(usage), "{text}");
    }
}
