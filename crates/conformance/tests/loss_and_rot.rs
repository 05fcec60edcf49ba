//! Drives lost and files damaged while clients read and write, two of five at a time: no read fails, no byte is wrong,
//! everything is made again without anybody's help, and then any other two may go.
#![allow(clippy::disallowed_methods)] // A test has a clock and files of its own.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use conformance::{Client, Damage, Noise, Rot, Scratch, Server, check};

/// For everything that was lost or damaged to be whole again.
const REPAIR_LIMIT: Duration = Duration::from_secs(180);
/// Rounds of damage, each to another two drives.
const ROUNDS: usize = 3;

/// Clients that read and write all the while.
struct Churn<'a> {
    scratch: &'a Scratch,
    server: &'a Server,
    child: Child,
}

impl<'a> Churn<'a> {
    fn start(scratch: &'a Scratch, server: &'a Server) -> Self {
        let script = Client::script("churn.py", server, scratch).arg("run");
        let script = script.arg(journal(scratch).display()).arg(stop(scratch).display());
        Self { scratch, server, child: script.spawn_to(&scratch.path().join("churn.out")) }
    }

    /// Expects that it has not given up so far.
    fn assert_unhurt(&mut self, after: &str) {
        let ended = self.child.try_wait().expect("the load is our child");
        assert!(ended.is_none(), "after {after}: {}\n{}", self.said(), self.server.log());
    }

    /// Ends it, and expects that nothing failed.
    fn finish(mut self) {
        std::fs::write(stop(self.scratch), "").expect("a file can be written");
        let status = self.child.wait().expect("the load is our child");
        assert!(status.success(), "{}\n{}", self.said(), self.server.log());
        println!("churn: {}", self.said().trim());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("churn.out")).unwrap_or_default()
    }
}

fn journal(scratch: &Scratch) -> PathBuf {
    scratch.path().join("churn.json")
}

fn stop(scratch: &Scratch) -> PathBuf {
    scratch.path().join("stop")
}

fn node(scratch: &Scratch, number: u64) -> PathBuf {
    scratch.data().join(format!("node-{}", number + 1))
}

/// Removes the folder of a node, the way a person does it: in one move, or file by file with the server still using it.
fn remove(scratch: &Scratch, number: u64, at_once: bool) {
    let folder = node(scratch, number);
    if at_once {
        let away = scratch.path().join("away");
        std::fs::rename(&folder, &away).expect("a folder can be moved");
        std::fs::remove_dir_all(&away).expect("a folder can be removed");
        return;
    }
    let begin = Instant::now();
    while let Err(error) = std::fs::remove_dir_all(&folder) {
        // The server still makes files in it.
        let is_known = [ErrorKind::DirectoryNotEmpty, ErrorKind::NotFound].contains(&error.kind());
        assert!(is_known && begin.elapsed() < Duration::from_secs(20), "{error}");
        if error.kind() == ErrorKind::NotFound && !folder.exists() {
            break;
        }
    }
}

/// Waits until each of these nodes has a drive in it again.
fn await_made_anew(scratch: &Scratch, server: &Server, numbers: &[u64]) {
    let begin = Instant::now();
    let identity = |number: &u64| node(scratch, *number).join("drive.json");
    while !numbers.iter().all(|number| identity(number).is_file()) {
        let limit = Duration::from_secs(30);
        assert!(begin.elapsed() < limit, "not made anew: {:#}\n{}", server.health(), server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until whatever is missing or damaged has been found and made again.
fn await_repaired(server: &Server) {
    let begin = Instant::now();
    for name in ["scrub", "sweep", "repair", "repair-census"] {
        server.finish_round(name, REPAIR_LIMIT);
    }
    server.await_healthy(REPAIR_LIMIT);
    println!("repaired in {:?}", begin.elapsed());
}

fn lose_two(scratch: &Scratch, server: &Server, churn: &mut Churn<'_>, two: &[u64]) {
    let names: Vec<String> = two.iter().map(|n| format!("node-{}", n + 1)).collect();
    println!("losing {names:?}");
    for (at_once, number) in [true, false].into_iter().zip(two) {
        remove(scratch, *number, at_once);
    }
    await_made_anew(scratch, server, two);
    churn.assert_unhurt("the loss of two nodes");
    await_repaired(server);
    churn.assert_unhurt("the repair of two nodes");
}

fn spoil(rot: &mut Rot, drive: &Path, other: &Path) {
    let spoilt = rot.spoil(drive, other);
    let count = |kind: Damage| spoilt.iter().filter(|(done, _)| *done == kind).count();
    let counts = Damage::ALL.map(|kind| format!("{kind:?} {}", count(kind))).join(", ");
    println!("{} files spoilt: {counts}", spoilt.len());
}

#[test]
fn two_of_five_lost_or_damaged_again_and_again() {
    let (scratch, begin) = (Scratch::new(), Instant::now());
    let mut luck = Noise::of_this_run();
    let server = Server::start(&scratch);
    Client::script("dataset.py", &server, &scratch).args(&["fill", "base"]).succeed();
    let mut churn = Churn::start(&scratch, &server);
    std::thread::sleep(Duration::from_secs(3));

    let first = luck.pick(2, 5);
    lose_two(&scratch, &server, &mut churn, &first);

    for round in 0..ROUNDS {
        let two = luck.pick(2, 5);
        let [a, b] = [node(&scratch, two[0]), node(&scratch, two[1])];
        println!("round {round}: node-{} and node-{} rot", two[0] + 1, two[1] + 1);
        let mut rot = Rot::new(luck.next_u64());
        rot.remember(&a);
        rot.remember(&b);
        std::thread::sleep(Duration::from_secs(2));
        spoil(&mut rot, &a, &b);
        spoil(&mut rot, &b, &a);
        // What is damaged is read, too, before anybody has looked for it.
        std::thread::sleep(Duration::from_secs(2));
        churn.assert_unhurt("damage to two nodes");
        await_repaired(&server);
        churn.assert_unhurt("the repair of damage");
    }

    let others: Vec<u64> = (0..5).filter(|n| !first.contains(n)).take(2).collect();
    lose_two(&scratch, &server, &mut churn, &others);
    churn.finish();
    server.quiesce(REPAIR_LIMIT);
    assert_all_there(&scratch, &server);
    // A restart reads anew what the drives hold. Where a file was put back as it was, or has lost what was deleted in
    // it, deleted shards come to light again, and go.
    let server = server.restart();
    assert_all_there(&scratch, &server);
    let rounds = server.quiesce(REPAIR_LIMIT);
    assert_all_there(&scratch, &server);
    server.stop();
    let dir = scratch.data().display().to_string();
    check(&scratch, &["--dir".to_owned(), dir]).assert_at_rest();
    println!("at rest after {rounds} rounds, {:?} in all", begin.elapsed());
}

fn assert_all_there(scratch: &Scratch, server: &Server) {
    Client::script("dataset.py", server, scratch).args(&["check", "base"]).succeed();
    let journal = journal(scratch).display().to_string();
    Client::script("churn.py", server, scratch).args(&["check", &journal]).succeed();
    assert!(!server.log().contains("panicked at"), "{}", server.log());
}
