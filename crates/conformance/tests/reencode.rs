//! What was written while drives were missing is cut anew when they are back, and then bears the loss of others.
#![allow(clippy::disallowed_methods)] // A test has files of its own.

use std::time::{Duration, Instant};

use conformance::{Client, Launch, Scratch, Server, check};

const DRIVES: [&str; 5] = ["a", "b", "c", "d", "e"];
const LIMIT: Duration = Duration::from_secs(120);

fn dataset(server: &Server, scratch: &Scratch, args: &[&str]) {
    Client::script("dataset.py", server, scratch).args(args).succeed();
}

/// Waits until so many nodes' drives are in service.
fn await_up(server: &Server, wanted: usize) {
    let begin = Instant::now();
    loop {
        let health = server.health();
        let nodes = health["nodes"].as_array().cloned().unwrap_or_default();
        let drives = nodes.iter().flat_map(|node| node["drives"].as_array().into_iter().flatten());
        if drives.filter(|drive| drive["state"] == "up").count() == wanted {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{health:#}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_was_written_on_three_drives_later_bears_the_loss_of_two_of_them() {
    let (scratch, begin) = (Scratch::new(), Instant::now());
    let launch = Launch::serve(&scratch, &DRIVES);
    let start = |launch: &Launch| match launch.start() {
        Ok(server) => server,
        Err(refused) => panic!("{}\n{}", refused.status, refused.said),
    };
    start(&launch).stop();
    let path = |name: &str| scratch.path().join(name);
    let step_aside = |name: &str| {
        std::fs::rename(path(name), path(&format!("away-{name}"))).expect("it can be moved");
    };
    step_aside("d");
    step_aside("e");
    let server = start(&launch);
    assert_eq!(server.health()["status"], "degraded", "{}", server.health());
    server.await_log("--accept-empty");
    dataset(&server, &scratch, &["fill", "base"]);
    dataset(&server, &scratch, &["check", "base"]);

    // The drives are mounted again, under the running server.
    for name in ["d", "e"] {
        std::fs::rename(path(&format!("away-{name}")), path(name)).expect("it can be moved back");
    }
    await_up(&server, 5);
    let back = Instant::now();
    server.quiesce(LIMIT);
    println!("cut anew in {:?}", back.elapsed());
    dataset(&server, &scratch, &["check", "base"]);

    // Two of the three that it was first written on.
    step_aside("a");
    step_aside("b");
    await_up(&server, 3);
    dataset(&server, &scratch, &["check", "base"]);
    for name in ["a", "b"] {
        std::fs::rename(path(&format!("away-{name}")), path(name)).expect("it can be moved back");
    }
    await_up(&server, 5);
    server.quiesce(LIMIT);
    server.stop();
    let mut args = vec!["--meta".to_owned(), path("meta").display().to_string()];
    DRIVES
        .iter()
        .for_each(|name| args.extend(["--data".to_owned(), path(name).display().to_string()]));
    check(&scratch, &args).assert_spotless();
    println!("{:?} in all", begin.elapsed());
}
