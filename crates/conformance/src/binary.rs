//! Finds the server's binary: built once for each test process, in the profile that the tests are built in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Folder of the whole repository.
pub(crate) fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// `target/PROFILE` of the running test.
pub(crate) fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has an executable");
    let deps = exe.parent().expect("an executable is in a folder");
    let profile = if deps.ends_with("deps") { deps.parent() } else { Some(deps) };
    profile.expect("target/PROFILE/deps").to_owned()
}

/// Path of the server's binary, after making sure that it is built from the sources as they are now.
///
/// # Panics
/// When it does not build.
pub fn server_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile_dir = profile_dir();
        let profile =
            profile_dir.file_name().and_then(|n| n.to_str()).unwrap_or("debug").to_owned();
        let profile = if profile == "debug" { "dev".to_owned() } else { profile };
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut command = Command::new(cargo);
        // The features are then those of a test of the whole workspace, so that nothing is compiled twice.
        let arguments = ["test", "--workspace", "--no-run", "--profile", &profile];
        command.current_dir(repository()).args(arguments);
        if let Some(target) = profile_dir.parent() {
            command.arg("--target-dir").arg(target);
        }
        let built = command.output().expect("cargo runs, as it is running this test");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the server does not build:\n{said}");
        let binary = profile_dir.join("undercroft");
        assert!(binary.is_file(), "no binary at {}", binary.display());
        binary
    })
}
