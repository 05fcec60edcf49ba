//! kill -9, fifty times under mixed load and also in the middle of recovery: what was acknowledged is there and whole,
//! nothing half is visible, and once the store has come to rest no byte is on the drives that no record names.
#![allow(clippy::disallowed_methods)] // A test has a clock and files of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use conformance::{Client, Launch, Noise, Scratch, Server, check};

const ROUNDS: u32 = 50;

/// Waits until the load has really begun.
fn wait_for_size(path: &Path, bytes: u64) {
    let begin = Instant::now();
    while path.metadata().map_or(0, |m| m.len()) < bytes {
        assert!(begin.elapsed() < Duration::from_secs(120), "the load did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn fifty_kills_lose_nothing_and_leave_nothing_behind() {
    let (scratch, begin) = (Scratch::new(), Instant::now());
    let state = scratch.path().join("state.json").display().to_string();
    let mut luck = Noise::of_this_run();
    let mut server = Server::start(&scratch);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let journal = scratch.path().join(format!("journal-{round}"));
        let journal_text = journal.display().to_string();
        let load = Client::script("load.py", &server, &scratch).args(&["run", &journal_text]);
        let mut load = load.spawn();
        wait_for_size(&journal, 4000);
        let after_ms = luck.below(700);
        std::thread::sleep(Duration::from_millis(after_ms));
        server.kill9();
        let ended = load.wait().expect("the load is our child");
        assert!(ended.success(), "round {round}: the load ended with {ended}");
        if round % 5 == 4 {
            // Recovery itself is killed too, at any moment.
            Launch::dev(&scratch).start_and_kill(Duration::from_millis(luck.below(400)));
        }
        server = server.restart();
        let check =
            Client::script("load.py", &server, &scratch).args(&["check", &journal_text, &state]);
        let checked = check.run();
        assert!(checked.success(), "round {round}, killed after {after_ms} ms: {checked}");
        let found = checked.report();
        println!("round {round}, killed after {after_ms} ms: {found}");
        acknowledged += found["acknowledged"].as_u64().unwrap_or(0);
    }
    let killed = begin.elapsed();
    assert!(acknowledged > 20 * u64::from(ROUNDS), "only {acknowledged} operations: no load");
    let check_all = || {
        let script = Client::script("load.py", &server, &scratch);
        script.args(&["check-all", &state]).succeed()
    };
    check_all();
    let rounds = server.quiesce(Duration::from_secs(120));
    check_all();
    server.stop();
    let dir = scratch.data().display().to_string();
    let checked = check(&scratch, &["--dir".to_owned(), dir]);
    checked.assert_spotless();
    let total = begin.elapsed();
    println!(
        "{acknowledged} acknowledged, {ROUNDS} kills in {killed:?}, at rest after {rounds} rounds, {total:?} in all"
    );
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
        let check_all = || {
            let script = Client::script("load.py", &server, &scratch);
            script.arg("check-all").arg(state.display()).run()
        };
        assert!(check_all().success());
        Client::script("load.py", &server, &scratch).args(&["tamper", how]).succeed();
        let later = check_all();
        assert!(!later.success(), "{how} was not noticed by a later look: {later}");
        std::fs::remove_file(&state).expect("the state can be removed");
        let tampered = check();
        assert!(!tampered.success(), "{how} was not noticed: {tampered}");
        server.stop();
    }
}
