//! Bodies of the fuzz targets, shared by `fuzz/` (coverage-guided, for days) and by the smoke test that runs
//! them over damaged seeds and random bytes (for seconds), so that they never rot.
//!
//! A target takes any bytes and panics when a property is broken. What it looks at is only what other people's
//! bytes can reach: files on a drive, records in the store, and requests.

mod draw;
mod records;
mod requests;
mod shard_files;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its file in `fuzz/fuzz_targets`, and of its corpus.
    pub name: &'static str,
    /// Its body.
    pub run: fn(&[u8]),
    /// Whole, valid inputs to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "segment_bytes", run: shard_files::bytes, seeds: shard_files::seeds },
    Target { name: "segment_fields", run: shard_files::fields, seeds: || vec![vec![7; 200]] },
    Target { name: "frames", run: shard_files::frames, seeds: || vec![vec![1; 90]] },
    Target { name: "records", run: records::records, seeds: records::seeds },
    Target { name: "record_keys", run: records::keys, seeds: records::key_seeds },
    Target { name: "request_targets", run: requests::targets, seeds: requests::target_seeds },
    Target {
        name: "copy_sources",
        run: requests::copy_sources,
        seeds: requests::copy_source_seeds,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Runs one target.
///
/// # Panics
/// When there is no such target, or a property of it is broken.
pub fn run(name: &str, data: &[u8]) {
    match target(name) {
        Some(target) => (target.run)(data),
        None => panic!("there is no fuzz target {name}"),
    }
}
