//! The program as a person meets it: help, version, and refusals that leave nothing behind.

use std::path::Path;
use std::process::{Command, Output};

const SECRET: &str = "a-secret-of-enough-length";

fn undercroft(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undercroft"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It must fail, say this, and make nothing at `path`.
fn refused(arguments: &[&str], variables: &[(&str, &str)], says: &str, path: &Path) {
    let output = undercroft(arguments, variables);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(says), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert!(!path.exists(), "something was made");
}

#[test]
fn help_and_version() {
    let version = undercroft(&["--version"], &[]);
    assert_eq!(text(&version.stdout), concat!("undercroft ", env!("CARGO_PKG_VERSION"), "\n"));
    for (arguments, words) in [
        (&["--help"][..], &["dev", "serve", "bench", "one replica"][..]),
        (&["dev", "--help"], &["--dir", "--nodes", "--s3-listen", "--admin-listen", "--log-level"]),
        (
            &["serve", "--help"],
            &["--data", "--accept-empty", "--meta", "--credentials", "--domain"],
        ),
        (&["bench", "s3", "--help"], &["--endpoint", "--op", "--size", "--concurrency", "--json"]),
    ] {
        let output = undercroft(arguments, &[]);
        assert!(output.status.success());
        let help = text(&output.stdout);
        words.iter().for_each(|word| assert!(help.contains(word), "{word} in\n{help}"));
    }
    assert_eq!(undercroft(&["dev", "--no-such-flag"], &[]).status.code(), Some(2));
    assert_eq!(undercroft(&["serve"], &[]).status.code(), Some(2));
}

#[test]
fn unusable_keys_in_the_environment_stop_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    let data = path.display().to_string();
    let arguments =
        ["dev", "--dir", &data, "--s3-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let (id, secret) = ("UNDERCROFT_ACCESS_KEY_ID", "UNDERCROFT_SECRET_ACCESS_KEY");
    refused(&arguments, &[(secret, SECRET)], "both", &path);
    refused(&arguments, &[(id, "ROOT")], "both", &path);
    refused(&arguments, &[(id, "ROOT"), (secret, "short")], "16 characters", &path);
}

#[test]
fn a_folder_of_somebody_elses_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let photos = dir.path().join("photos");
    #[allow(clippy::disallowed_methods, reason = "a test prepares files")]
    std::fs::create_dir_all(photos.join("2026")).expect("made");
    let meta = dir.path().join("meta");
    let (data, meta_text) = (photos.display().to_string(), meta.display().to_string());
    refused(&["serve", "--data", &data, "--meta", &meta_text], &[], "not empty", &meta);
    assert_eq!(std::fs::read_dir(&photos).expect("there").count(), 1);
}
