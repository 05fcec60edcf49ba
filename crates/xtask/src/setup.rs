//! Installs the S3 clients that the conformance tests drive. Does nothing when all is there.
//!
//! Debian packages for the clients that are programs, a Python environment in `.venv` with the versions
//! pinned in `crates/conformance/requirements.txt` for those that are Python. Which mirrors are asked is the
//! machine's configuration, never ours.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Program and the Debian package that has it.
const PROGRAMS: [(&str, &str); 2] = [("rclone", "rclone"), ("restic", "restic")];
const REQUIREMENTS: &str = "crates/conformance/requirements.txt";
/// In `.venv`: the requirements that were installed into it.
const STAMP: &str = "installed.txt";

/// Installs what is missing.
///
/// # Errors
/// When something cannot be installed; the message says what a person can do.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !runs(program, &["version"]))
        .map(|(_, p)| *p)
        .collect();
    if !runs("python3", &["-c", "import venv, ensurepip"]) {
        packages.push("python3-venv");
    }
    if !packages.is_empty() {
        apt_install(&packages)?;
    }
    python_environment(root)
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    let prefix: &[&str] = if is_root() {
        &[]
    } else if runs("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        bail!("the tests need {names}, and only root can install them: apt-get install {names}");
    };
    if !runs("apt-get", &["--version"]) {
        bail!("the tests need {names}; this is no Debian, so please install them by hand");
    }
    let apt = |arguments: &[&str]| {
        let base =
            [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
        execute(base[0], &base[1..])
    };
    let install = [&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat();
    // The package lists may be absent or old: refresh them only when they do not serve.
    if apt(&install).is_err() {
        apt(&["update", "--quiet"])?;
        apt(&install)?;
    }
    Ok(())
}

fn python_environment(root: &Path) -> anyhow::Result<()> {
    let requirements_path = root.join(REQUIREMENTS);
    let requirements = std::fs::read_to_string(&requirements_path).context(REQUIREMENTS)?;
    let venv = root.join(".venv");
    let stamp = venv.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(());
    }
    let venv_text = venv.to_string_lossy();
    execute("python3", &["-m", "venv", "--clear", &venv_text])?;
    let python = venv.join("bin/python");
    let requirements_text = requirements_path.to_string_lossy();
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    execute(&python.to_string_lossy(), &[&pip[..], &[&requirements_text]].concat())?;
    std::fs::write(&stamp, requirements)?;
    Ok(())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether the program is there and ends well.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn execute(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    eprintln!("+ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{program} could not be started"))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}
