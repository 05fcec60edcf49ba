//! Development tasks: `cargo xtask verify | fix | tidy | setup | measure`.
//!
//! A tool for the people who work on Undercroft; nothing of it is in the product, so the rule that only
//! `runtime` touches files and the environment does not bind it.
#![allow(clippy::disallowed_methods, reason = "a development tool, not part of the product")]

mod measure;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::bail;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Subcommand)]
enum Task {
    /// Read-only: formatting, clippy with warnings denied, tidy.
    Verify,
    /// Mutating: formats everything and applies what clippy can apply by itself.
    Fix,
    /// Crate edges, library fences, sizes, module docs, banned text.
    Tidy,
    /// Installs the clients that the tests drive: Debian packages and a Python environment. Idempotent.
    Setup,
    /// Measures the release binary and prints the table of docs/performance.md.
    Measure(measure::MeasureArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let root = workspace_root();
    match task {
        Task::Verify => {
            cargo(&root, &["fmt", "--all", "--check"])?;
            let clippy =
                ["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"];
            cargo(&root, &clippy)?;
            run_tidy(&root)
        }
        Task::Fix => {
            let clippy = ["clippy", "--workspace", "--all-targets", "--release", "--fix"];
            cargo(&root, &[&clippy[..], &["--allow-dirty", "--allow-staged"]].concat())?;
            cargo(&root, &["fmt", "--all"])
        }
        Task::Tidy => run_tidy(&root),
        Task::Setup => setup::run(&root),
        Task::Measure(args) => measure::run(&root, &args),
    }
}

fn run_tidy(root: &Path) -> anyhow::Result<()> {
    let violations = tidy::check(root)?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("{count} violation(s); the rules are explained in ARCHITECTURE.md"),
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let started = Instant::now();
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).args(arguments).current_dir(root).status()?;
    eprintln!("cargo {}: {:.1} s", arguments.join(" "), started.elapsed().as_secs_f64());
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// The directory of the workspace's manifest: two above this crate's, which cargo names when it runs us.
fn workspace_root() -> PathBuf {
    let named = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.ancestors().nth(2).map_or_else(|| here.clone(), Path::to_owned)
}
