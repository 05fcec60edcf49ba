//! The clients that people use, against the real binary, compared byte for byte in both directions.
#![allow(clippy::disallowed_methods)] // A test has files of its own.

use std::path::Path;

use conformance::{
    Client, Finished, Scratch, Server, assert_same_file, assert_same_tree, get, write_noise,
    write_tree,
};

fn aws(server: &Server, scratch: &Scratch, args: &[&str]) -> Client {
    // Version 1 of this client presigns with Signature Version 2 for endpoints it does not know, unless told.
    let config = scratch.path().join("aws-config");
    let text = "[default]\ns3 =\n    signature_version = s3v4\n";
    std::fs::write(&config, text).expect("a file can be written");
    Client::python_program("aws", server, scratch)
        .env("AWS_CONFIG_FILE", &config.display().to_string())
        .args(args)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn aws_cli() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let run = |args: &[&str]| aws(&server, &scratch, args).succeed().stdout;
    let tree = scratch.path().join("tree");
    write_tree(&tree, 1);
    run(&["s3", "mb", "s3://files"]);
    assert!(run(&["s3", "ls"]).contains("files"));

    // One file up and down, listed, moved, gone.
    let one = tree.join("large/eleven-mib.bin");
    run(&["s3", "cp", &text(&one), "s3://files/one.bin"]);
    assert!(run(&["s3", "ls", "s3://files/"]).contains(" 11534343 one.bin"));
    let back = scratch.path().join("back.bin");
    run(&["s3", "cp", "s3://files/one.bin", &text(&back)]);
    assert_same_file(&one, &back);
    run(&["s3", "mv", "s3://files/one.bin", "s3://files/moved/two.bin"]);
    assert!(!run(&["s3", "ls", "s3://files/"]).contains("one.bin"));
    run(&["s3", "cp", "s3://files/moved/two.bin", "s3://files/copied"]);
    run(&["s3", "mv", "s3://files/copied", &text(&back)]);
    assert_same_file(&one, &back);
    let url = run(&["s3", "presign", "s3://files/moved/two.bin", "--expires-in", "60"]);
    let path = url.trim().strip_prefix(server.s3()).expect("a URL of this server").to_owned();
    let answer = get(server.s3(), &path).expect("the URL can be read");
    assert_eq!(answer.status, 200);
    assert!(answer.body == std::fs::read(&one).expect("the file can be read"), "other bytes");

    // A whole folder, both ways, and what has changed.
    run(&["s3", "sync", &text(&tree), "s3://files/tree"]);
    let down = scratch.path().join("down");
    run(&["s3", "sync", "s3://files/tree", &text(&down)]);
    assert_same_tree(&tree, &down);
    std::fs::remove_dir_all(tree.join("deep/1")).expect("a folder can be removed");
    write_noise(&tree.join("names/new"), 70_000, 9);
    write_noise(&tree.join("sizes/100.bin"), 101, 10);
    run(&["s3", "sync", "--delete", &text(&tree), "s3://files/tree"]);
    run(&["s3", "sync", "--delete", "s3://files/tree", &text(&down)]);
    assert_same_tree(&tree, &down);
    assert!(run(&["s3", "sync", "--size-only", &text(&tree), "s3://files/tree"]).trim().is_empty());
    let listed = run(&["s3", "ls", "--recursive", "--summarize", "s3://files/tree/"]);
    assert!(listed.contains("Total Objects:"), "{listed}");

    // The way out.
    assert!(!aws(&server, &scratch, &["s3", "rb", "s3://files"]).run().success());
    run(&["s3", "rm", "--recursive", "s3://files/tree"]);
    // `ls` of a prefix that matches nothing fails.
    assert!(!aws(&server, &scratch, &["s3", "ls", "s3://files/tree/"]).run().success());
    run(&["s3", "rb", "--force", "s3://files"]);
    assert!(!run(&["s3", "ls"]).contains("files"));
    server.stop();
}

#[test]
fn aws_cli_one_gibibyte_by_parts() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let (there, back) = (scratch.path().join("there"), scratch.path().join("back"));
    write_noise(&there, 1 << 30, 77);
    aws(&server, &scratch, &["s3", "mb", "s3://big"]).succeed();
    aws(&server, &scratch, &["s3", "cp", "--only-show-errors", &text(&there), "s3://big/g"])
        .succeed();
    aws(&server, &scratch, &["s3", "cp", "--only-show-errors", "s3://big/g", &text(&back)])
        .succeed();
    assert_same_file(&there, &back);
    let peak = server.peak_memory_mib();
    assert!(peak < 512, "the server took {peak} MiB");
    server.stop();
}

#[test]
fn rclone() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let run = |args: &[&str]| {
        Client::system_program("rclone", &server, &scratch)
            .env("RCLONE_CONFIG_UC_TYPE", "s3")
            .env("RCLONE_CONFIG_UC_PROVIDER", "Other")
            .env("RCLONE_CONFIG_UC_ENV_AUTH", "true")
            .env("RCLONE_CONFIG_UC_REGION", "us-east-1")
            .env("RCLONE_CONFIG_UC_ENDPOINT", server.s3())
            .args(&[
                "--config",
                "",
                "--retries",
                "1",
                "--s3-chunk-size",
                "5M",
                "--s3-upload-cutoff",
                "5M",
            ])
            .args(args)
            .succeed()
    };
    let (tree, down) = (scratch.path().join("tree"), scratch.path().join("down"));
    write_tree(&tree, 2);
    run(&["mkdir", "uc:store"]);
    run(&["sync", &text(&tree), "uc:store/tree"]);
    run(&["check", &text(&tree), "uc:store/tree"]);
    run(&["check", "--download", &text(&tree), "uc:store/tree"]);
    run(&["sync", "uc:store/tree", &text(&down)]);
    assert_same_tree(&tree, &down);
    std::fs::remove_dir_all(tree.join("deep")).expect("a folder can be removed");
    write_noise(&tree.join("sizes/1.bin"), 2, 10);
    run(&["sync", &text(&tree), "uc:store/tree"]);
    run(&["copy", "uc:store/tree", "uc:store/again"]);
    run(&["check", "uc:store/tree", "uc:store/again"]);
    run(&["sync", "uc:store/again", &text(&down)]);
    assert_same_tree(&tree, &down);
    run(&["moveto", "uc:store/again/large", "uc:store/moved"]);
    assert!(run(&["lsf", "-R", "uc:store/moved"]).stdout.contains("eleven-mib.bin"));
    run(&["purge", "uc:store"]);
    assert!(run(&["lsd", "uc:"]).stdout.is_empty());
    server.stop();
}

#[test]
fn s3cmd() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let host = server.s3().trim_start_matches("http://").to_owned();
    let config = scratch.path().join("s3cfg");
    let root = conformance::ROOT;
    let lines = [
        "[default]".to_owned(),
        format!("access_key = {}", root.access_key_id),
        format!("secret_key = {}", root.secret_access_key),
        format!("host_base = {host}"),
        format!("host_bucket = {host}"),
        "use_https = False\nbucket_location = us-east-1\nuse_mime_magic = False".to_owned(),
        "multipart_chunk_size_mb = 5\nmax_retries = 0".to_owned(),
    ];
    std::fs::write(&config, lines.join("\n")).expect("a file can be written");
    let start = |args: &[&str]| {
        let with = ["-c", &text(&config), "--no-progress"];
        Client::python_program("s3cmd", &server, &scratch).args(&with).args(args)
    };
    let run = |args: &[&str]| -> Finished { start(args).succeed() };
    let (tree, down) = (scratch.path().join("tree"), scratch.path().join("down"));
    write_tree(&tree, 3);
    run(&["mb", "s3://cmd"]);
    let one = tree.join("large/eleven-mib.bin");
    run(&["put", &text(&one), "s3://cmd/one"]);
    let back = scratch.path().join("back");
    run(&["get", "s3://cmd/one", &text(&back)]);
    assert_same_file(&one, &back);
    assert!(run(&["ls", "s3://cmd"]).stdout.contains("11534343  s3://cmd/one"));
    run(&["cp", "s3://cmd/one", "s3://cmd/two"]);
    run(&["mv", "s3://cmd/two", "s3://cmd/three"]);
    run(&["get", "--force", "s3://cmd/three", &text(&back)]);
    assert_same_file(&one, &back);
    run(&["sync", &format!("{}/", text(&tree)), "s3://cmd/tree/"]);
    std::fs::create_dir_all(&down).expect("a folder can be made");
    run(&["sync", "s3://cmd/tree/", &format!("{}/", text(&down))]);
    assert_same_tree(&tree, &down);
    std::fs::remove_dir_all(tree.join("names")).expect("a folder can be removed");
    write_noise(&tree.join("sizes/8191.bin"), 5, 11);
    run(&["sync", "--delete-removed", &format!("{}/", text(&tree)), "s3://cmd/tree/"]);
    run(&["sync", "--delete-removed", "s3://cmd/tree/", &format!("{}/", text(&down))]);
    std::fs::remove_dir_all(down.join("names")).unwrap_or_default();
    assert_same_tree(&tree, &down);
    assert!(!start(&["rb", "s3://cmd"]).run().success(), "a bucket with objects was removed");
    run(&["del", "s3://cmd/one"]);
    run(&["del", "--recursive", "--force", "s3://cmd"]);
    assert!(run(&["ls", "--recursive", "s3://cmd"]).stdout.is_empty());
    run(&["rb", "s3://cmd"]);
    server.stop();
}

#[test]
fn restic() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch);
    let start = |args: &[&str]| {
        Client::system_program("restic", &server, &scratch)
            .env("RESTIC_REPOSITORY", &format!("s3:{}/backup", server.s3()))
            .env("RESTIC_PASSWORD", "not a secret either")
            .arg("--no-cache")
            .args(args)
    };
    let run = |args: &[&str]| start(args).succeed().stdout;
    let tree = scratch.path().join("tree");
    write_tree(&tree, 4);
    assert!(!start(&["snapshots"]).run().success(), "a repository where there is none");
    run(&["init"]);
    run(&["backup", "tree"]);
    run(&["check", "--read-data"]);
    let first = scratch.path().join("first");
    run(&["restore", "latest", "--target", &text(&first)]);
    assert_same_tree(&tree, &first.join("tree"));
    std::fs::remove_dir_all(tree.join("deep")).expect("a folder can be removed");
    write_noise(&tree.join("sizes/more.bin"), 2_000_000, 12);
    run(&["backup", "tree"]);
    run(&["forget", "--keep-last", "1", "--prune"]);
    run(&["check", "--read-data"]);
    let second = scratch.path().join("second");
    run(&["restore", "latest", "--target", &text(&second)]);
    assert_same_tree(&tree, &second.join("tree"));
    assert_eq!(get(server.admin(), "/health").map(|a| a.status).ok(), Some(200));
    server.stop();
}
