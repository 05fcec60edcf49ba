//! Starting, stopping, starting again: endpoints, credentials, refusals, signals, help.
#![allow(clippy::disallowed_methods)] // A test has files of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use conformance::{Client, Launch, Scratch, Server, get, metric, server_binary};
use serde_json::Value;

fn started(launch: &Launch) -> Server {
    launch.start().unwrap_or_else(|refused| panic!("{}\n{}", refused.status, refused.said))
}

fn script(name: &str, server: &Server, scratch: &Scratch, args: &[&str]) {
    Client::script(name, server, scratch).args(args).succeed();
}

#[test]
fn a_restart_finds_everything() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "kept"]);
    let server = server.restart();
    script("dataset.py", &server, &scratch, &["check", "kept"]);
    server.stop();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["check", "kept"]);
    assert_eq!(server.health()["status"], "healthy", "{}", server.health());
    server.stop();
}

#[test]
fn serve_on_one_drive_and_on_three() {
    for (drives, geometry) in [(&["a"][..], "1+0"), (&["a", "b", "c"][..], "2+1")] {
        let scratch = Scratch::new();
        let launch = Launch::serve(&scratch, drives);
        let server = started(&launch);
        assert_eq!(server.health()["geometry"], geometry);
        server.await_log("back it up while stopped");
        if drives.len() == 1 {
            server.await_log("no redundancy");
        } else {
            assert!(!server.log().contains("no redundancy"), "{}", server.log());
        }
        script("dataset.py", &server, &scratch, &["fill", "kept"]);
        server.stop();
        let server = started(&launch);
        script("dataset.py", &server, &scratch, &["check", "kept"]);
        server.stop();
        if drives.len() == 3 {
            std::fs::remove_dir_all(scratch.path().join("b")).expect("a drive can be removed");
            let server = started(&launch);
            script("dataset.py", &server, &scratch, &["check", "kept"]);
            assert_eq!(server.health()["status"], "degraded", "{}", server.health());
            server.stop();
        }
    }
}

#[test]
fn a_second_process_is_refused_and_does_no_harm() {
    let scratch = Scratch::new();
    let mut server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "kept"]);
    let Err(refused) = Launch::dev(&scratch).start() else { panic!("two servers on one folder") };
    assert!(!refused.status.success());
    let said = refused.said.to_lowercase();
    assert!(said.contains("use") || said.contains("running") || said.contains("lock"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(server.is_up());
    script("dataset.py", &server, &scratch, &["check", "kept"]);
    server.stop();
}

#[test]
fn sigterm_finishes_what_is_under_way() {
    let scratch = Scratch::new();
    let mut server = Server::start(&scratch);
    script("inflight.py", &server, &scratch, &["finish"]);
    let status = server.wait(Duration::from_secs(30));
    assert!(status.is_some_and(|s| s.success()), "{status:?}\n{}", server.log());
    let server = server.restart();
    script("inflight.py", &server, &scratch, &["check"]);
    server.stop();
}

#[test]
fn sigterm_does_not_wait_for_ever() {
    let scratch = Scratch::new();
    let mut server = Server::start(&scratch);
    let stalled = Client::script("inflight.py", &server, &scratch).arg("stall");
    let mut stalled = stalled.spawn();
    let status = server.wait(Duration::from_secs(90));
    assert!(status.is_some(), "stalled clients keep it alive:\n{}", server.log());
    stalled.wait().expect("the client is our child");
}

#[test]
fn credentials_are_made_once_private_and_random() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let scratch = Scratch::new();
        let launch = Launch::dev(&scratch).without_root_pair();
        let server = started(&launch);
        let file = scratch.data().join("credentials.json");
        server.await_log(&file.display().to_string());
        let mode = file.metadata().expect("the file is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = std::fs::read_to_string(&file).expect("the file can be read");
        let keys: Value = serde_json::from_str(&text).expect("it is JSON");
        let field = |name: &str| keys["keys"][0][name].as_str().unwrap_or_default().to_owned();
        let (id, secret) = (field("access_key_id"), field("secret_access_key"));
        assert!(id.len() >= 16 && secret.len() >= 32, "{text}");
        let check = |server: &Server, secret: &str| {
            Client::python_program("aws", server, &scratch)
                .env("AWS_ACCESS_KEY_ID", &id)
                .env("AWS_SECRET_ACCESS_KEY", secret)
                .args(&["s3", "ls"])
                .run()
                .success()
        };
        assert!(check(&server, &secret));
        assert!(!check(&server, "another-secret-that-is-long-enough-too"));
        server.stop();
        let server = started(&launch);
        assert_eq!(std::fs::read_to_string(&file).expect("still there"), text);
        assert!(check(&server, &secret));
        let data = server.log();
        assert!(!data.contains("minioadmin"));
        server.stop();
        seen.push((id, secret));
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
}

#[test]
fn a_credentials_file_that_others_may_read_is_refused() {
    let scratch = Scratch::with_other_account();
    let file = scratch.data().join("credentials.json");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&file, open).expect("the mode can be set");
    let Err(refused) = Launch::dev(&scratch).start() else { panic!("it started") };
    assert!(refused.said.contains("chmod 600"), "{}", refused.said);
}

#[test]
fn half_a_pair_is_refused() {
    let scratch = Scratch::new();
    let launch = Launch::dev(&scratch).without_root_pair();
    let Err(refused) = launch.env("UNDERCROFT_ACCESS_KEY_ID", "HALFAPAIR").start() else {
        panic!("it started")
    };
    assert!(refused.said.contains("UNDERCROFT_SECRET_ACCESS_KEY"), "{}", refused.said);
}

#[test]
fn drives_without_their_metadata_are_not_a_new_cluster() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "kept"]);
    server.stop();
    let (meta, away) = (scratch.data().join("meta"), scratch.path().join("away"));
    std::fs::rename(&meta, &away).expect("metadata can be moved away");
    let Err(refused) = Launch::dev(&scratch).start() else { panic!("a new cluster over old data") };
    assert!(refused.said.contains("metadata"), "{}", refused.said);
    if meta.exists() {
        std::fs::remove_dir_all(&meta).expect("what was made can be removed");
    }
    std::fs::rename(&away, &meta).expect("metadata can be moved back");
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["check", "kept"]);
    server.stop();
}

#[test]
fn the_admin_face_tells_figures_and_nothing_else() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    script("dataset.py", &server, &scratch, &["fill", "some"]);
    let health = server.health();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["nodes"].as_array().map(Vec::len), Some(5));
    assert_eq!(health["metadata"]["replicas"], 1);
    server.await_log("one replica");
    let metrics = get(server.admin(), "/metrics").expect("metrics").text();
    let value = |name: &str, labels: &[&str]| metric(&metrics, name, labels);
    let some = |found: Option<f64>| found.is_some_and(|value| value > 0.0);
    assert!(
        some(value(
            "undercroft_http_requests_total",
            &["operation=\"PutObject\"", "status=\"200\""]
        )),
        "{metrics}"
    );
    assert!(
        some(value("undercroft_http_request_duration_seconds_count", &["PutObject"])),
        "{metrics}"
    );
    assert!(some(value("undercroft_node_disk_usage_bytes", &[])), "{metrics}");
    assert!(value("undercroft_objects_under_replicated", &[]).is_some(), "{metrics}");
    // The S3 face has none of it, and the admin face no S3.
    assert_eq!(get(server.s3(), "/metrics").map(|a| a.status).ok(), Some(403));
    assert_eq!(get(server.s3(), "/health").map(|a| a.status).ok(), Some(403));
    assert_eq!(get(server.admin(), "/dataset/some/size-1").map(|a| a.status).ok(), Some(404));
    server.stop();
}

#[test]
fn help_is_there_for_everything() {
    for args in
        [&["--help"][..], &["dev", "--help"], &["serve", "--help"], &["bench", "s3", "--help"]]
    {
        let output = Command::new(server_binary()).args(args).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Usage:"), "{args:?}: {text}");
    }
    let output = Command::new(server_binary()).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("undercroft "), "{text}");
    let output = Command::new(server_binary()).arg("no-such-thing").output().expect("it runs");
    assert!(!output.status.success());
}
