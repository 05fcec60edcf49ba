//! How fast scrub and repair are, and what they cost clients: windows with and without them, alternating, because
//! the machine may have other things to do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{Subject, bench};

/// Pairs of windows for each row.
const PAIRS: usize = 3;
/// How long a worker is watched alone.
const ALONE: Duration = Duration::from_secs(8);
/// Repair after the loss of a folder takes no longer than this, or is given up.
const REPAIRED_MAX: Duration = Duration::from_secs(600);

/// What clients do meanwhile: name, flags of the load generator.
const LOADS: &[(&str, &[&str])] = &[
    ("PUT 4 KiB, 32 connections", &["--op", "put", "--size", "4KiB", "--concurrency", "32"]),
    ("GET 4 KiB, 32 connections", &["--op", "get", "--size", "4KiB", "--concurrency", "32"]),
    ("PUT 64 KiB, 32 connections", &["--op", "put", "--size", "64KiB", "--concurrency", "32"]),
    ("GET 64 KiB, 32 connections", &["--op", "get", "--size", "64KiB", "--concurrency", "32"]),
    ("PUT 64 MiB, 2 streams", &["--op", "put", "--size", "64MiB", "--concurrency", "2"]),
    ("GET 64 MiB, 2 streams", &["--op", "get", "--size", "64MiB", "--concurrency", "2"]),
];

/// What there is to scrub and repair.
const FILL: &[&[&str]] = &[
    &["--op", "put", "--size", "64KiB", "--concurrency", "32", "--prefix", "fill/small/"],
    &["--op", "put", "--size", "64MiB", "--concurrency", "2", "--prefix", "fill/large/"],
];

/// Fills the store, then measures scrub, then loses folders and measures repair.
pub(super) fn measure(
    binary: &Path,
    subject: &Subject,
    dir: &Path,
    duration: &str,
) -> anyhow::Result<()> {
    for worker in ["scrub", "sweep", "collect", "compact"] {
        post(subject, &format!("/workers/{worker}/pause"))?;
    }
    for flags in FILL {
        bench(binary, subject, &[flags, &["--keep", "--duration", duration][..]].concat())?;
    }
    std::thread::sleep(Duration::from_secs(2));
    println!("scrub alone: {:.0} MB/s", scrub_alone(subject)?);
    println!("\n| beside scrub | without | with | ratio | scrub MB/s |\n|---|---|---|---|---|");
    compare(binary, subject, "scrub", duration, |subject| post(subject, "/workers/scrub/run"))?;
    post(subject, "/workers/repair/pause")?;
    lose(subject, &dir.join("node-2"))?;
    let (tasks, began) = (gauge(subject, "under_replicated")?, Instant::now());
    let before = done(subject, "repair")?;
    post(subject, "/workers/repair/resume")?;
    await_repair(subject)?;
    let took = began.elapsed().as_secs_f64();
    let bytes = done(subject, "repair")? - before;
    println!(
        "\nrepair alone: {tasks} blobs, {:.1} GB of shards in {took:.1} s, {:.0} MB/s",
        bytes / 1e9,
        bytes / took / 1e6
    );
    post(subject, "/workers/repair/pause")?;
    lose(subject, &dir.join("node-3"))?;
    println!("\n| beside repair | without | with | ratio | repair MB/s |\n|---|---|---|---|---|");
    compare(binary, subject, "repair", duration, |_| Ok(Value::Null))
}

fn scrub_alone(subject: &Subject) -> anyhow::Result<f64> {
    post(subject, "/workers/scrub/run")?;
    let before = done(subject, "scrub")?;
    let began = Instant::now();
    std::thread::sleep(ALONE);
    let rate = (done(subject, "scrub")? - before) / began.elapsed().as_secs_f64() / 1e6;
    post(subject, "/workers/scrub/pause")?;
    Ok(rate)
}

/// Removes a folder, and waits until it is there again and its loss has been written down.
fn lose(subject: &Subject, folder: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(folder)?;
    std::thread::sleep(Duration::from_secs(5));
    post(subject, "/workers/sweep/run")?;
    std::thread::sleep(Duration::from_secs(15));
    post(subject, "/workers/repair-census/run")?;
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

fn await_repair(subject: &Subject) -> anyhow::Result<()> {
    let began = Instant::now();
    while gauge(subject, "under_replicated")? > 0.0 {
        if began.elapsed() > REPAIRED_MAX {
            bail!("not repaired in {REPAIRED_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Alternates windows with `worker` paused and at work; `begin` gives it something to do.
fn compare(
    binary: &Path,
    subject: &Subject,
    worker: &str,
    duration: &str,
    begin: impl Fn(&Subject) -> anyhow::Result<Value>,
) -> anyhow::Result<()> {
    for (name, flags) in LOADS {
        make_room(subject)?;
        let is_get = flags.contains(&"get");
        let objects: &[&str] = match (is_get, flags.contains(&"64MiB")) {
            (true, true) => &["--objects", "8", "--keep"],
            (true, false) => &["--objects", "2000", "--keep"],
            (false, _) => &[],
        };
        let prefix = format!("beside/{worker}/{}/", name.replace([' ', ','], "-"));
        let flags = [flags, objects, &["--duration", duration, "--prefix", &prefix]].concat();
        if is_get {
            // What is read is written once, before the windows.
            bench(binary, subject, &flags)?;
        }
        let prepared: &[&str] = if is_get { &["--prepared"] } else { &[] };
        let flags = [&flags[..], prepared].concat();
        let (mut without, mut with, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            post(subject, &format!("/workers/{worker}/pause"))?;
            std::thread::sleep(Duration::from_secs(1));
            without.push(bench(binary, subject, &flags)?.total.requests_per_second);
            post(subject, &format!("/workers/{worker}/resume"))?;
            begin(subject)?;
            let before = done(subject, worker)?;
            let report = bench(binary, subject, &flags)?;
            moved.push((done(subject, worker)? - before) / report.seconds / 1e6);
            with.push(report.total.requests_per_second);
        }
        let [without, with, moved] = [without, with, moved].map(median);
        println!("| {name} | {without:.0}/s | {with:.0}/s | {:.2} | {moved:.0} |", with / without);
    }
    post(subject, &format!("/workers/{worker}/pause")).map(drop)
}

/// Lets what was deleted be collected, which is part of no window.
fn make_room(subject: &Subject) -> anyhow::Result<()> {
    post(subject, "/workers/collect/resume")?;
    let mut before = -1.0;
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = done(subject, "collect")?;
        if now <= before {
            break;
        }
        before = now;
    }
    post(subject, "/workers/collect/pause").map(drop)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Units that a worker has done since the start.
fn done(subject: &Subject, worker: &str) -> anyhow::Result<f64> {
    let all = ask(subject, "GET", "/workers")?;
    let workers = all["workers"].as_array().context("no list of workers")?;
    let found = workers.iter().find(|one| one["name"] == worker);
    found.and_then(|one| one["done"].as_f64()).with_context(|| format!("no worker {worker}"))
}

/// A number of `/health`.
fn gauge(subject: &Subject, field: &str) -> anyhow::Result<f64> {
    let health = ask(subject, "GET", "/health")?;
    health[field].as_f64().with_context(|| format!("no {field} in /health"))
}

fn post(subject: &Subject, path: &str) -> anyhow::Result<Value> {
    ask(subject, "POST", path)
}

fn ask(subject: &Subject, method: &str, path: &str) -> anyhow::Result<Value> {
    let address = subject.admin.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if !matches!(status, "200" | "503") {
        bail!("{method} {path}: {head}");
    }
    serde_json::from_str(body).with_context(|| format!("{method} {path}: no JSON in {body:?}"))
}
