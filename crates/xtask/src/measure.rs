//! `cargo xtask measure`: the figures of `docs/performance.md`, measured again on this machine.
//!
//! Starts the release binary on a directory of its own and drives it with the binary's own load generator,
//! one measurement behind the other. Prints a table to paste. Not a test: a figure proves nothing about
//! correctness, and the machine may be busy with something else.

mod background;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;

/// What is measured, and for how long.
#[derive(Args, Clone)]
pub(crate) struct MeasureArgs {
    /// The binary to measure. [default: built in the release profile]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the server keeps its data meanwhile; made, and removed afterwards.
    #[arg(long, default_value = "target/measure")]
    dir: PathBuf,
    /// How long each measurement takes.
    #[arg(long, default_value = "10s")]
    duration: String,
    /// Objects that the listing is measured over.
    #[arg(long, default_value_t = 100_000)]
    list_objects: u64,
    /// Data nodes.
    #[arg(long, default_value_t = 5)]
    nodes: u16,
    /// Instead of the table: how fast scrub and repair are, and what they cost clients.
    #[arg(long)]
    background: bool,
}

/// One row: name, operation, size, connections, further flags.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("PUT 4 KiB, 32 connections", "put", "4KiB", "32", &[]),
    ("GET 4 KiB, 32 connections", "get", "4KiB", "32", &["--objects", "5000"]),
    ("DELETE 4 KiB, 32 connections", "delete", "4KiB", "32", &["--objects", "30000"]),
    ("mixed 4 KiB, 32 connections", "mixed", "4KiB", "32", &["--objects", "5000"]),
    ("PUT 8 KiB (inline), 32 connections", "put", "8KiB", "32", &[]),
    ("PUT 9 KiB (a blob), 32 connections", "put", "9KiB", "32", &[]),
    ("PUT 64 KiB, 32 connections", "put", "64KiB", "32", &[]),
    ("GET 64 KiB, 32 connections", "get", "64KiB", "32", &["--objects", "1000"]),
    ("PUT 1 MiB, 8 connections", "put", "1MiB", "8", &[]),
    ("GET 1 MiB, 8 connections", "get", "1MiB", "8", &["--objects", "200"]),
    ("PUT 64 MiB, 2 streams", "put", "64MiB", "2", &[]),
    ("GET 64 MiB, 2 streams", "get", "64MiB", "2", &["--objects", "8"]),
];

#[derive(Deserialize)]
struct Report {
    total: Total,
    keys_listed: Option<u64>,
    seconds: f64,
    server: Option<Server>,
}

#[derive(Deserialize)]
struct Total {
    errors: u64,
    requests_per_second: f64,
    mb_per_second: f64,
    latency_ms: Latency,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Deserialize)]
struct Server {
    cpu_ms_per_request: f64,
    cpu_seconds_per_gib: Option<f64>,
    rss_peak_bytes: u64,
}

/// A server under measurement; ended when dropped.
struct Subject {
    child: Child,
    endpoint: String,
    /// `http://host:port` of the admin listener.
    admin: String,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ACCESS_KEY: &str = "measure";
const SECRET_KEY: &str = "only-for-a-measurement";

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, args: &MeasureArgs) -> anyhow::Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            super::cargo(root, &["build", "--release", "-p", "undercroft"])?;
            root.join("target/release/undercroft")
        }
    };
    let dir = root.join(&args.dir);
    if dir.exists() {
        bail!("{} exists: remove it or name another --dir", dir.display());
    }
    let subject = start(&binary, &dir, args.nodes)?;
    if args.background {
        background::measure(&binary, &subject, &dir, &args.duration)?;
    } else {
        table(&binary, &subject, args)?;
    }
    drop(subject);
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

fn table(binary: &Path, subject: &Subject, args: &MeasureArgs) -> anyhow::Result<()> {
    println!(
        "| what | requests/s | MB/s | p50 ms | p90 ms | p99 ms | max ms | errors | server CPU-ms/request | server CPU-s/GiB | server RSS peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, op, size, concurrency, more) in ROWS {
        let flags = ["--op", op, "--size", size, "--concurrency", concurrency];
        let flags = [&flags[..], &["--duration", &args.duration], more].concat();
        print_row(name, &bench(binary, subject, &flags)?);
    }
    let objects = args.list_objects.to_string();
    let list = ["--op", "list", "--size", "0", "--objects", &objects, "--duration", &args.duration];
    for (name, streams) in [("LIST, 1 stream", "1"), ("LIST, 2 streams", "2")] {
        let keep: &[&str] = match streams {
            "1" => &["--concurrency", "1", "--prefix", "list/", "--keep"],
            _ => &["--concurrency", "2", "--prefix", "list/", "--keep", "--prepared"],
        };
        let report = bench(binary, subject, &[&list[..], keep].concat())?;
        let keys = report.keys_listed.unwrap_or(0) as f64 / report.seconds;
        print_row(&format!("{name} over {objects} keys: {keys:.0} keys/s"), &report);
    }
    Ok(())
}

fn start(binary: &Path, dir: &Path, nodes: u16) -> anyhow::Result<Subject> {
    let mut child = Command::new(binary)
        .args(["dev", "--s3-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--log-level", "warn", "--nodes", &nodes.to_string(), "--dir"])
        .arg(dir)
        .env("UNDERCROFT_ACCESS_KEY_ID", ACCESS_KEY)
        .env("UNDERCROFT_SECRET_ACCESS_KEY", SECRET_KEY)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let stdout = child.stdout.take().context("the server has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut url = |start: &str| {
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with(start))?;
        line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
    };
    let endpoints = (url("S3 endpoint"), url("Admin endpoint"));
    // The rest of the banner is read away, so that the server never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    match endpoints {
        (Some(endpoint), Some(admin)) => Ok(Subject { child, endpoint, admin }),
        _ => bail!("the server ended without naming its endpoints"),
    }
}

fn bench(binary: &Path, subject: &Subject, flags: &[&str]) -> anyhow::Result<Report> {
    let output = Command::new(binary)
        .args(["bench", "s3", "--json", "--endpoint", &subject.endpoint])
        .args(["--server-pid", &subject.child.id().to_string()])
        .args(flags)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("bench s3 {} failed: {}", flags.join(" "), output.status);
    }
    serde_json::from_slice(&output.stdout).context("the report cannot be read")
}

fn print_row(name: &str, report: &Report) {
    let Total { errors, requests_per_second, mb_per_second, latency_ms: l } = &report.total;
    print!("| {name} | {requests_per_second:.0} | {mb_per_second:.1} ");
    print!("| {:.2} | {:.2} | {:.2} | {:.1} | {errors} ", l.p50, l.p90, l.p99, l.max);
    match &report.server {
        Some(server) => {
            let per_gib = server.cpu_seconds_per_gib.unwrap_or(0.0);
            let rss = server.rss_peak_bytes as f64 / 1e6;
            println!("| {:.3} | {per_gib:.2} | {rss:.0} |", server.cpu_ms_per_request);
        }
        None => println!("| | | |"),
    }
}
