//! Drives that fill up: writes are refused at the watermark, reads and deletes go on, and writes are taken again once
//! the room has been given back.
#![allow(clippy::disallowed_methods)] // A test has files of its own.

use std::time::Duration;

use conformance::{Client, Launch, Scratch, Server};
use serde_json::Value;

const DRIVES: [&str; 3] = ["a", "b", "c"];
/// Of each drive. The last 256 MiB of a drive are never filled.
const DISK_MIB: u64 = 256 + 48;
const LIMIT: Duration = Duration::from_secs(60);

fn states(server: &Server) -> Vec<String> {
    let health = server.health();
    let nodes = health["nodes"].as_array().cloned().unwrap_or_default();
    let drives =
        nodes.iter().flat_map(|node| node["drives"].as_array().cloned().unwrap_or_default());
    drives.map(|drive| drive["state"].as_str().unwrap_or_default().to_owned()).collect()
}

fn step(server: &Server, scratch: &Scratch, name: &str) -> Value {
    let journal = scratch.path().join("journal").display().to_string();
    let told =
        Client::script("full.py", server, scratch).args(&[&journal, name]).succeed().report();
    println!("{name}: {told}");
    told
}

#[test]
fn full_drives_refuse_writes_and_nothing_else() {
    let scratch = Scratch::new();
    let launch = Launch::serve(&scratch, &DRIVES).on_small_disks(&scratch, &DRIVES, DISK_MIB);
    let Some(launch) = launch else {
        // Small file systems take rights that not every machine gives. The same is shown without them, on simulated
        // disks that fill up, by the tests of `shards` and `objects`.
        println!("no small file systems can be mounted here");
        return;
    };
    let server = launch.start().unwrap_or_else(|refused| panic!("{}", refused.said));
    let filled = step(&server, &scratch, "fill");
    let bytes = filled["bytes"].as_u64().unwrap_or(0);
    // Two of three shards are data, and large shards are refused a little early.
    assert!(bytes > 60 << 20 && bytes < 96 << 20, "{bytes} bytes were taken");
    println!("drives are {:?}", states(&server));
    step(&server, &scratch, "check");
    step(&server, &scratch, "refused");
    step(&server, &scratch, "check");
    step(&server, &scratch, "empty");
    server.finish_round("collect", LIMIT);
    server.finish_round("compact", LIMIT);
    step(&server, &scratch, "written");
    server.await_healthy(LIMIT);
    assert_eq!(states(&server), ["up"; 3], "{:#}", server.health());
    assert!(!server.log().contains("panicked at"), "{}", server.log());
    server.stop();
}
