//! The workspace as the rules see it: manifests from `cargo metadata`, and the text of every file of ours.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Everything the rules look at.
pub(super) struct Workspace {
    /// The crates.
    pub(super) packages: Vec<Package>,
    /// All text files of ours.
    pub(super) files: Vec<SourceFile>,
}

/// A crate.
#[derive(Deserialize)]
pub(super) struct Package {
    /// Its name, which is also its folder's.
    pub(super) name: String,
    /// What it depends on.
    pub(super) dependencies: Vec<Dependency>,
}

/// An entry of a manifest's dependency tables.
#[derive(Deserialize)]
pub(super) struct Dependency {
    /// The package's name.
    pub(super) name: String,
    /// `None` for normal ones, else `dev` or `build`.
    pub(super) kind: Option<String>,
    /// Folder, for crates of this workspace.
    pub(super) path: Option<String>,
}

impl Dependency {
    /// Whether it is of this workspace.
    pub(super) fn is_ours(&self) -> bool {
        self.path.is_some()
    }

    /// Whether only tests use it.
    pub(super) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// A text file.
pub(super) struct SourceFile {
    /// Path from the workspace's root, with `/`.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

impl SourceFile {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is a test or a benchmark: by its folder, or by the name that a
    /// `#[cfg(test)] mod …;` conventionally has.
    pub(super) fn is_test(&self) -> bool {
        let folders = ["/tests/", "/benches/", "/fuzz/", "/examples/"];
        folders.iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.starts_with("crates/conformance/")
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Workspace {
    /// Reads it.
    pub(super) fn load(root: &Path) -> anyhow::Result<Self> {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(program)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(root)
            .output()
            .context("cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
        let mut files = Vec::new();
        collect(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { packages: metadata.packages, files })
    }

    /// The file at `path`, if there is one.
    pub(super) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

const SKIPPED: [&str; 6] = [".git", ".venv", "target", "undercroft-data", "corpus", "artifacts"];
const TEXT: [&str; 8] = [".rs", ".toml", ".md", ".sh", ".py", ".txt", "Makefile", ".ci/run"];

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if SKIPPED.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        if TEXT.iter().any(|end| relative.ends_with(end)) {
            // A file that vanishes between the listing and here was somebody's temporary file.
            if let Ok(text) = std::fs::read_to_string(&path) {
                files.push(SourceFile { path: relative, text });
            }
        }
    }
    Ok(())
}
