//! `undercroft check` on the folders of a stopped server.

use std::process::{Command, ExitStatus};

use serde_json::Value;

use crate::binary::server_binary;
use crate::scratch::Scratch;

/// What a check came to.
#[derive(Debug)]
pub struct Checked {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote, as JSON.
    pub report: Value,
    said: String,
}

/// Runs `undercroft check --json` with these arguments.
///
/// # Panics
/// When it cannot be run, or what it writes is not JSON.
pub fn check(scratch: &Scratch, args: &[String]) -> Checked {
    let mut command = Command::new(server_binary());
    command.args(["check", "--json"]).args(args).current_dir(scratch.path()).env_clear();
    let output = command.output().expect("the binary can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let stdout = String::from_utf8_lossy(&output.stdout);
        panic!("{error}: {}\n{stdout}\n{said}", output.status)
    });
    Checked { status: output.status, report, said }
}

impl Checked {
    /// Expects that nothing is wrong, nothing is left to do, and no byte is on the drives that no record names.
    ///
    /// # Panics
    /// When it is not so.
    pub fn assert_spotless(&self) {
        self.assert_at_rest();
        let Self { status, report, said } = self;
        assert!(status.success(), "{status}\n{report:#}\n{said}");
    }

    /// As [`Checked::assert_spotless`], but scars may be left that concern no object: entries of deleted shards that
    /// do not verify, and what was put aside.
    ///
    /// # Panics
    /// When it is not so.
    pub fn assert_at_rest(&self) {
        let Self { status, report, said } = self;
        let problems = report["problems"].as_array().expect("a list of problems");
        let is_scar = |problem: &Value| {
            problem["severity"] == "note" || problem["kind"] == "delete_unreadable"
        };
        let are_scars = problems.iter().all(is_scar);
        let counts = &report["counts"];
        let figure = |name: &str| {
            let found = counts[name].as_u64();
            found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
        };
        let left = [
            "orphan_shards",
            "bytes_unnamed",
            "garbage_shards",
            "degraded_blobs",
            "repair_tasks",
            "garbage",
            "lost_objects",
        ];
        let left: Vec<_> = left.into_iter().filter(|name| figure(name) != 0).collect();
        assert!(are_scars && left.is_empty(), "{status}: {left:?}\n{report:#}\n{said}");
    }
}
