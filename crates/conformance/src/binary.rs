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
/// `cargo test --workspace` has built it by then. With this crate alone it may be absent or old, and is built.
///
/// # Panics
/// When it does not build.
pub fn server_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile_dir = profile_dir();
        let binary = profile_dir.join("undercroft");
        if !is_current(&binary) {
            build(&profile_dir);
        }
        assert!(binary.is_file(), "no binary at {}", binary.display());
        binary
    })
}

/// Whether the binary is newer than every source that cargo says it was made of. (Asking cargo instead would
/// build all dependencies a second time, as one package alone wants other features of them than the workspace.)
fn is_current(binary: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Ok(sources) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = sources.split_once(": ") else { return false };
    let root = repository();
    let manifests = [root.join("Cargo.lock"), root.join("Cargo.toml")];
    let sources = sources.split_whitespace().map(PathBuf::from);
    let Some(built) = modified(binary) else { return false };
    sources.chain(manifests).all(|source| modified(&source).is_some_and(|at| at <= built))
}

fn build(profile_dir: &Path) {
    let profile = profile_dir.file_name().and_then(|name| name.to_str());
    let profile = profile.filter(|name| *name != "debug").unwrap_or("dev");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(repository()).args(["build", "-p", "undercroft", "--profile", profile]);
    if let Some(target) = profile_dir.parent() {
        command.arg("--target-dir").arg(target);
    }
    let built = command.output().expect("cargo runs, as it is running this test");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the server does not build:\n{said}");
}
