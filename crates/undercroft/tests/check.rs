//! `undercroft check` on real folders: a store that was killed is clean and stays as it is, and every kind of damage
//! is told from every other, with what it means and an exit code that says how bad it is.

#![allow(clippy::disallowed_methods, reason = "tests damage files")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const KEYS: [(&str, &str); 2] =
    [("UNDERCROFT_ACCESS_KEY_ID", "ROOT"), ("UNDERCROFT_SECRET_ACCESS_KEY", "root-secret-of-ours")];

fn undercroft() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undercroft"));
    command.env_clear().envs(KEYS);
    command
}

/// A server that is killed when dropped.
struct Server {
    child: Child,
    s3: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = undercroft()
            .args(["dev", "--s3-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("S3 endpoint")).expect("an endpoint");
        let s3 = line.split_whitespace().last().expect("an address").to_owned();
        // Nobody reads what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, s3 }
    }

    /// Puts objects of this size, for a moment.
    fn fill(&self, size: &str) {
        let output = undercroft()
            .args(["bench", "s3", "--op=put", "--duration=300ms", "--concurrency=3", "--keep"])
            .args(["--endpoint", &self.s3, "--size", size])
            .args(["--access-key-id", KEYS[0].1, "--secret-access-key", KEYS[1].1])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Asks it to end, and waits.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("a signal").success());
        assert!(self.child.wait().expect("an end").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check_plainly(arguments: &[&str]) -> Output {
    undercroft().arg("check").args(arguments).output().expect("it runs")
}

/// The exit code and the document.
fn check(dir: &Path) -> (i32, Value) {
    let output = check_plainly(&["--json", "--dir", &dir.display().to_string()]);
    let document = serde_json::from_slice(&output.stdout).expect("a document");
    (output.status.code().expect("a code"), document)
}

/// How often each kind of problem is told, the worst exit code and status.
fn diagnose(dir: &Path) -> (i32, BTreeMap<String, usize>, Value) {
    let (code, document) = check(dir);
    let mut kinds = BTreeMap::new();
    for problem in document["problems"].as_array().expect("a list") {
        let kind = problem["kind"].as_str().expect("a kind").to_owned();
        *kinds.entry(kind).or_default() += 1;
        assert!(!problem["message"].as_str().unwrap_or_default().is_empty());
        assert!(!problem["remedy"].as_str().unwrap_or_default().is_empty());
    }
    let status = ["clean", "damaged", "lost", "unchecked"][code as usize];
    assert_eq!((&document["v"], &document["status"]), (&Value::from(1), &Value::from(status)));
    (code, kinds, document)
}

fn counted(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

/// Every file of the drives, with its bytes.
fn drives(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true if path == dir.join("meta") => {}
                true => folders.push(path),
                false => drop(files.insert(path.clone(), std::fs::read(&path).expect("a file"))),
            }
        }
    }
    files
}

fn below(dir: &Path, node: u32, ending: &str) -> Vec<PathBuf> {
    let files = drives(&dir.join(format!("node-{node}")));
    files.into_keys().filter(|path| path.extension().is_some_and(|e| e == ending)).collect()
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("written");
}

fn len(path: &Path) -> u64 {
    path.metadata().expect("there").len()
}

/// Exchanges two files.
fn exchange(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    std::fs::rename(a, &aside).expect("renamed");
    std::fs::rename(b, a).expect("renamed");
    std::fs::rename(&aside, b).expect("renamed");
}

#[test]
fn a_killed_store_is_clean_and_stays_as_it_is() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    let text = dir.display().to_string();
    let server = Server::start(&dir);
    server.fill("4KiB");
    server.fill("5MiB");
    let output = check_plainly(&["--dir", &text]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("running") && said.contains("Nothing was changed"), "{said}");
    drop(server);
    let before = drives(&dir);
    assert!(before.len() > 20);
    for _ in 0..2 {
        let (code, kinds, document) = diagnose(&dir);
        assert_eq!((code, kinds.len()), (0, 0), "{document:#}");
        let counts = &document["counts"];
        assert!(counts["objects"].as_u64() > Some(5) && counts["blobs"].as_u64() > Some(2));
        assert_eq!(counts["degraded_blobs"], 0);
        assert_eq!(document["drives"].as_array().map(Vec::len), Some(5));
    }
    assert!(drives(&dir) == before, "the check has changed a drive");
    let output = check_plainly(&["--dir", &text]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("Clean"), "{said}");
    // What was checked starts again.
    Server::start(&dir).stop();
    assert_eq!(diagnose(&dir).0, 0);
}

#[test]
fn damage_is_told_apart() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    let server = Server::start(&dir);
    server.fill("300KiB");
    let early = std::fs::read(&below(&dir, 2, "seg")[0]).expect("read");
    server.fill("300KiB");
    server.fill("5MiB");
    server.stop();
    let whole = drives(&dir);
    // What a change of files is told as; then it is undone.
    let told = |change: &dyn Fn()| {
        change();
        let (code, kinds, document) = diagnose(&dir);
        for path in drives(&dir).keys().filter(|path| !whole.contains_key(*path)) {
            std::fs::remove_file(path).expect("removed");
        }
        for (path, bytes) in &whole {
            std::fs::write(path, bytes).expect("written");
        }
        (code, kinds, document)
    };
    assert_eq!(told(&|| ()).0, 0, "it begins whole");
    let large = [1, 2].map(|node| below(&dir, node, "shard"));
    let segment = below(&dir, 3, "seg")[0].clone();
    let size = len(&segment);
    let other = |path: &Path| {
        let name = path.strip_prefix(dir.join("node-1")).expect("of the first").to_owned();
        dir.join("node-2").join(name)
    };
    for (expected, change) in [
        ("copy_damaged", &(|| flip(&large[0][0], 70_000)) as &dyn Fn()),
        ("copy_damaged", &|| flip(&large[0][0], 50)),
        ("copy_damaged", &|| {
            std::fs::write(&large[0][0], &whole[&large[0][0]][..9999]).expect("cut")
        }),
        ("copy_missing", &|| std::fs::remove_file(&large[0][0]).expect("removed")),
        ("copy_moved", &|| std::fs::rename(&large[0][0], other(&large[0][0])).expect("moved")),
        ("copy_damaged", &|| flip(&segment, 1024 + 88 + 5000)),
        ("record_header", &|| flip(&segment, 1024 + 40)),
        ("segment_header", &|| flip(&segment, 20)),
        ("segment_trailer", &|| flip(&segment, size - 60)),
        ("segment_tables", &|| flip(&segment, size - 128 - 3)),
    ] {
        let (code, kinds, document) = told(change);
        assert_eq!((code, kinds), (1, counted(&[(expected, 1)])), "{document:#}");
        let problem = &document["problems"][0];
        assert!(problem["drive"].is_string());
        if expected.starts_with("copy") {
            assert_eq!(
                (&problem["margin"], problem["object"].is_string()),
                (&Value::from(1), true)
            );
        }
    }
    let (code, kinds, document) = told(&|| exchange(&large[0][0], &large[1][0]));
    assert_eq!((code, kinds), (1, counted(&[("copy_damaged", 2)])), "{document:#}");
    // An earlier state of a segment: what came later is missing.
    let (code, kinds, document) = told(&|| {
        std::fs::write(&below(&dir, 2, "seg")[0], &early).expect("written");
    });
    assert_eq!((code, kinds.len()), (1, 1), "{document:#}");
    assert!(kinds["copy_missing"] >= 1, "{kinds:?}");
    // A segment of another drive.
    let (code, kinds, document) = told(&|| exchange(&segment, &below(&dir, 4, "seg")[0]));
    assert_eq!((code, kinds["segment_misplaced"]), (1, 2), "{document:#}");
    assert!(kinds["copy_missing"] > 1 && kinds.len() == 2, "{kinds:?}");
    // Names that are nobody's.
    let (code, kinds, _) =
        told(&|| std::fs::write(dir.join("node-1/notes"), b"?").expect("written"));
    assert_eq!((code, kinds), (0, counted(&[("unknown_name", 1)])));
}

#[test]
fn what_is_lost_is_said() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    let server = Server::start(&dir);
    server.fill("5MiB");
    server.stop();
    let node = |number: u32| dir.join(format!("node-{number}"));
    let aside = |number: u32| temporary.path().join(format!("aside-{number}"));
    for number in 1..=2 {
        std::fs::rename(node(number), aside(number)).expect("renamed");
    }
    let (code, kinds, document) = diagnose(&dir);
    assert_eq!((code, kinds), (1, counted(&[("drive_missing", 2)])), "{document:#}");
    // Of one object too much: two drives away, and a damaged copy.
    let path = below(&dir, 3, "shard")[0].clone();
    flip(&path, len(&path) - 100);
    let (code, kinds, document) = diagnose(&dir);
    let expected = counted(&[("copy_damaged", 1), ("drive_missing", 2), ("object_lost", 1)]);
    assert_eq!((code, kinds), (2, expected), "{document:#}");
    let lost = document["problems"].as_array().expect("a list").iter();
    let lost = lost.clone().find(|p| p["kind"] == "object_lost").expect("told");
    assert!(lost["object"].as_str().is_some_and(|name| name.starts_with("undercroft-bench/")));
    assert!(lost["lost"][0]["from"].as_u64() > Some(0) && lost["margin"] == -1, "{lost:#}");
    assert!(lost["remedy"].as_str().is_some_and(|remedy| remedy.contains("Bring back")));
    assert_eq!(document["counts"]["lost_objects"], 1);
    for number in 1..=2 {
        std::fs::rename(aside(number), node(number)).expect("renamed");
    }
    assert_eq!(diagnose(&dir).0, 1);
    // The drives as `serve` would have them, one left out.
    let path = |name: &str| dir.join(name).display().to_string();
    let mut arguments = vec!["--json".to_owned(), "--meta".to_owned(), path("meta")];
    for number in 2..=5 {
        arguments.extend(["--data".to_owned(), path(&format!("node-{number}"))]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = check_plainly(&arguments);
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(output.status.code(), Some(1), "{document:#}");
    assert_eq!(document["counts"]["lost_objects"], 0);
    // Without metadata the drives are verified, and nothing is made where it should be.
    std::fs::rename(dir.join("meta"), aside(9)).expect("renamed");
    let (code, kinds, document) = diagnose(&dir);
    assert_eq!((code, kinds), (3, counted(&[("copy_damaged", 1)])), "{document:#}");
    assert!(document["error"].as_str().is_some_and(|error| error.contains("no metadata")));
    assert!(document["drives"][0]["shards"].as_u64() > Some(0));
    assert!(!dir.join("meta").exists());
}

#[test]
fn what_cannot_be_checked_is_code_3() {
    let temporary = tempfile::tempdir().expect("a directory");
    let nothing = temporary.path().join("nothing").display().to_string();
    for arguments in [&["--dir", &nothing][..], &["--data", &nothing], &[], &["--no-such-flag"]] {
        assert_eq!(check_plainly(arguments).status.code(), Some(3), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).expect("there").count(), 0);
    assert_eq!(check_plainly(&["--help"]).status.code(), Some(0));
}
