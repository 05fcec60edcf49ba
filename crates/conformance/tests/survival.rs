//! Drives lost and damaged while the server is stopped, big streams: what can be read is read, what cannot says so, and
//! no wrong byte is ever given out.
#![allow(clippy::disallowed_methods)] // A test has files of its own.

use conformance::{Client, Launch, Scratch, Server, flip_bits, metric};
use serde_json::Value;

fn script(name: &str, server: &Server, scratch: &Scratch, args: &[&str]) -> Value {
    Client::script(name, server, scratch).args(args).succeed().report()
}

const DRIVES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// `serve` on [`DRIVES`], which leaves what is missing alone.
fn served(scratch: &Scratch) -> Server {
    match Launch::serve(scratch, &DRIVES).start() {
        Ok(server) => server,
        Err(refused) => panic!("{}\n{}", refused.status, refused.said),
    }
}

/// How many drives are in this state.
fn drives(health: &Value, state: &str) -> usize {
    let nodes = health["nodes"].as_array().cloned().unwrap_or_default();
    let drives = nodes.iter().flat_map(|node| node["drives"].as_array().into_iter().flatten());
    drives.filter(|drive| drive["state"] == state).count()
}

#[test]
fn two_of_five_drives_lost_and_then_a_third() {
    let scratch = Scratch::new();
    let server = served(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "whole"]);
    assert_eq!(server.health()["status"], "healthy", "{}", server.health());
    server.stop();

    let lose = |drive: &str| {
        std::fs::remove_dir_all(scratch.path().join(drive)).expect("a drive can be removed");
    };
    lose("b");
    lose("d");
    let server = served(&scratch);
    let health = server.health();
    assert_eq!((&health["status"], drives(&health, "away")), (&"degraded".into(), 2), "{health}");
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

    lose("a");
    let mut server = served(&scratch);
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
    let server = served(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "before"]);
    server.stop();
    let (there, away) = (scratch.path().join("c"), scratch.path().join("away"));
    std::fs::rename(&there, &away).expect("a drive can be moved away");
    std::fs::create_dir(&there).expect("a mount point");
    let server = served(&scratch);
    assert_eq!(server.health()["status"], "degraded");
    script("dataset.py", &server, &scratch, &["fill", "meanwhile"]);
    server.stop();
    // An empty folder where a drive was is a drive that is not mounted, never a new drive.
    assert_eq!(std::fs::read_dir(&there).expect("a folder").count(), 0, "something was made in it");
    std::fs::remove_dir(&there).expect("an empty folder can be removed");
    std::fs::rename(&away, &there).expect("a drive can be moved back");
    let server = served(&scratch);
    assert_eq!(drives(&server.health(), "up"), 5, "{}", server.health());
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
