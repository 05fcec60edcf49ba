//! boto3 and hand-made requests against the real binary: each script of `clients/` on a server of its own.

use conformance::{Client, Launch, Scratch};

/// Runs a script; it must have run at least so many tests, none failed, none skipped.
fn script(name: &str, at_least: u32) {
    let scratch = Scratch::with_other_account();
    let started = Launch::dev(&scratch).arg("--domain=localhost").start();
    let mut server =
        started.unwrap_or_else(|refused| panic!("{}\n{}", refused.status, refused.said));
    let finished = Client::script(name, &server, &scratch).succeed();
    assert!(server.is_up(), "the server is gone: {}", server.log());
    let last = finished.stdout.lines().last().unwrap_or_default();
    let ran: u32 = last.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(ran >= at_least, "only {ran} tests of at least {at_least} ran: {finished}");
    let said = server.log();
    assert!(!said.contains("panicked at"), "a worker panicked:\n{said}");
    server.stop();
}

#[test]
fn buckets() {
    script("s3_buckets.py", 15);
}

#[test]
fn objects() {
    script("s3_objects.py", 35);
}

#[test]
fn listings() {
    script("s3_list.py", 18);
}

#[test]
fn multipart() {
    script("s3_multipart.py", 25);
}

#[test]
fn checksums() {
    script("s3_checksums.py", 25);
}

#[test]
fn authentication() {
    script("s3_auth.py", 30);
}

#[test]
fn errors() {
    script("s3_errors.py", 12);
}
