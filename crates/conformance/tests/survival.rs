//! kill -9 under load, lost drives, damaged drives, big streams: nothing acknowledged is lost, nothing half is
//! visible, and no wrong byte is ever given out.
#![allow(clippy::disallowed_methods)] // A test has a clock and files of its own.

use std::time::{Duration, Instant};

use conformance::{Client, Launch, Noise, Scratch, Server, flip_bits, metric};
use serde_json::Value;

const ROUNDS: u32 = 20;

/// The last line of what a script wrote, as JSON.
fn report(stdout: &str) -> Value {
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn script(name: &str, server: &Server, scratch: &Scratch, args: &[&str]) -> Value {
    report(&Client::script(name, server, scratch).args(args).succeed().stdout)
}

/// Luck that differs from run to run; a failure's output says which rounds it had.
fn luck() -> Noise {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Noise::new(now.map_or(0, |since| since.as_nanos() as u64))
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state.json").display().to_string();
    let mut luck = luck();
    let mut server = Server::start(&scratch);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let journal = scratch.path().join(format!("journal-{round}"));
        let journal_text = journal.display().to_string();
        let load = Client::script("load.py", &server, &scratch).args(&["run", &journal_text]);
        let mut load = load.spawn();
        wait_for_size(&journal, 4000);
        let after_ms = 100 + luck.below(1200);
        std::thread::sleep(Duration::from_millis(after_ms));
        server.kill9();
        let ended = load.wait().expect("the load is our child");
        assert!(ended.success(), "round {round}: the load ended with {ended}");
        if round % 4 == 3 {
            // Recovery itself is killed too, at any moment.
            Launch::dev(&scratch).start_and_kill(Duration::from_millis(luck.below(400)));
        }
        server = server.restart();
        let check =
            Client::script("load.py", &server, &scratch).args(&["check", &journal_text, &state]);
        let checked = check.run();
        assert!(checked.success(), "round {round}, killed after {after_ms} ms: {checked}");
        let found = report(&checked.stdout);
        println!("round {round}, killed after {after_ms} ms: {found}");
        acknowledged += found["acknowledged"].as_u64().unwrap_or(0);
    }
    assert!(
        acknowledged > 50 * u64::from(ROUNDS),
        "only {acknowledged} operations: that was no load"
    );
    server.stop();
}

#[test]
fn the_check_after_a_kill_notices_a_lost_and_a_false_value() {
    for how in ["lose", "replace"] {
        let scratch = Scratch::new();
        let journal = scratch.path().join("journal");
        let (journal_text, state) = (journal.display().to_string(), scratch.path().join("state"));
        let mut server = Server::start(&scratch);
        let load = Client::script("load.py", &server, &scratch).args(&["run", &journal_text]);
        let mut load = load.spawn();
        wait_for_size(&journal, 8000);
        server.kill9();
        load.wait().expect("the load is our child");
        let server = server.restart();
        let check = || {
            let script = Client::script("load.py", &server, &scratch);
            script.args(&["check", &journal_text]).arg(state.display()).run()
        };
        let untouched = check();
        assert!(untouched.success(), "{untouched}");
        std::fs::remove_file(&state).expect("the state can be removed");
        Client::script("load.py", &server, &scratch).args(&["tamper", how]).succeed();
        let tampered = check();
        assert!(!tampered.success(), "{how} was not noticed: {tampered}");
        server.stop();
    }
}

/// Waits until the load has really begun.
fn wait_for_size(path: &std::path::Path, bytes: u64) {
    let begin = Instant::now();
    while path.metadata().map_or(0, |m| m.len()) < bytes {
        assert!(begin.elapsed() < Duration::from_secs(120), "the load did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_of_five_nodes_lost_and_then_a_third() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "whole"]);
    assert_eq!(server.health()["status"], "healthy", "{}", server.health());
    server.stop();

    let lose = |node: &str| {
        std::fs::remove_dir_all(scratch.data().join(node)).expect("a node can be removed");
    };
    lose("node-2");
    lose("node-4");
    let server = Server::start(&scratch);
    let health = server.health();
    assert_eq!(health["status"], "degraded", "{health}");
    let down = health["nodes"]
        .as_array()
        .map(|nodes| nodes.iter().filter(|n| n["state"] == "down").count());
    assert_eq!(down, Some(2), "{health}");
    server.await_log("DEGRADED");
    script("dataset.py", &server, &scratch, &["check", "whole"]);
    // Three drives are left: writes use a smaller geometry that still has parity.
    script("dataset.py", &server, &scratch, &["fill", "three"]);
    script("dataset.py", &server, &scratch, &["check", "three"]);
    let metrics = conformance::get(server.admin(), "/metrics").expect("metrics").text();
    assert!(
        metric(&metrics, "undercroft_degraded_reads_total", &[]).is_some_and(|n| n > 0.0),
        "{metrics}"
    );
    server.stop();

    lose("node-1");
    let mut server = Server::start(&scratch);
    assert_eq!(server.health()["status"], "unhealthy", "{}", server.health());
    // What was cut 3+2 is beyond reach, and says so; what is inline is not touched by drives at all.
    let found = script("dataset.py", &server, &scratch, &["survey", "whole"]);
    let failed = found["failed_keys"].as_array().cloned().unwrap_or_default();
    assert!(failed.iter().any(|key| key == "size-3145729"), "{found}");
    for inline in ["size-0", "size-1", "size-100", "size-8192"] {
        assert!(failed.iter().all(|key| key != inline), "{inline} failed: {found}");
    }
    // What was written onto three drives as 2+1 bears the loss of one.
    script("dataset.py", &server, &scratch, &["check", "three"]);
    assert!(server.is_up());
    server.stop();
}

#[test]
fn drives_that_come_back_are_whole_again() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "before"]);
    server.stop();
    let (there, away) = (scratch.data().join("node-3"), scratch.path().join("away"));
    std::fs::rename(&there, &away).expect("a node can be moved away");
    let server = Server::start(&scratch);
    assert_eq!(server.health()["status"], "degraded");
    script("dataset.py", &server, &scratch, &["fill", "meanwhile"]);
    server.stop();
    // An empty folder where a drive was is a drive that is not mounted, never a new drive.
    if there.exists() {
        assert_eq!(
            std::fs::read_dir(&there).expect("a folder").count(),
            0,
            "something was made in it"
        );
        std::fs::remove_dir(&there).expect("an empty folder can be removed");
    }
    std::fs::rename(&away, &there).expect("a node can be moved back");
    let server = Server::start(&scratch);
    let up = server.health()["nodes"]
        .as_array()
        .map(|n| n.iter().filter(|n| n["state"] == "up").count());
    assert_eq!(up, Some(5), "{}", server.health());
    script("dataset.py", &server, &scratch, &["check", "before"]);
    script("dataset.py", &server, &scratch, &["check", "meanwhile"]);
    server.stop();
}

#[test]
fn damaged_shards_give_no_wrong_byte() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "whole"]);
    server.stop();
    for node in ["node-1", "node-5"] {
        assert!(flip_bits(&scratch.data().join(node), 2000) > 0, "nothing to damage");
    }
    let server = Server::start(&scratch);
    // Two drives with damage everywhere: everything still reads back.
    script("dataset.py", &server, &scratch, &["check", "whole"]);
    server.stop();
    assert!(flip_bits(&scratch.data().join("node-3"), 2000) > 0, "nothing to damage");
    let mut server = Server::start(&scratch);
    // A third: whatever cannot be read must say so.
    script("dataset.py", &server, &scratch, &["survey", "whole"]);
    assert!(server.is_up());
    let said = server.log();
    assert!(!said.contains("panicked at"), "a worker panicked:\n{said}");
    server.stop();
}

#[test]
fn a_gibibyte_streams_through_little_memory() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let found = script("stream.py", &server, &scratch, &["1024", "512"]);
    println!("{found}");
    server.stop();
}
