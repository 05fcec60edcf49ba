//! Every crate opts into the workspace's lints and takes its dependencies' versions from the root.

use super::Violation;
use super::workspace::Workspace;

/// Looks for `[lints] workspace = true`, and for versions outside the root manifest.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let path = format!("crates/{}/Cargo.toml", package.name);
        let Some(file) = workspace.file(&path) else {
            violations.push(Violation::new(path, 0, "a crate's folder must be named as the crate"));
            continue;
        };
        let mut section = "";
        let mut lints = false;
        for (index, line) in file.text.lines().map(str::trim).enumerate() {
            if line.starts_with('[') {
                section = line;
            } else if section == "[lints]" && line == "workspace = true" {
                lints = true;
            } else if section.ends_with("dependencies]") && line.contains('=') && !from_root(line) {
                let message = "take the version from the root: `name = { workspace = true }`";
                violations.push(Violation::new(path.clone(), index + 1, message));
            }
        }
        if !lints {
            violations.push(Violation::new(path, 0, "must have `[lints] workspace = true`"));
        }
    }
    violations
}

fn from_root(line: &str) -> bool {
    line.starts_with('#') || line.contains("workspace = true")
}
