//! Every Rust file begins by saying what it is.

use super::Violation;
use super::workspace::Workspace;

/// The first line that is neither blank nor an inner attribute must be a `//!`.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let rust = workspace.files.iter().filter(|file| file.is_rust());
    rust.filter(|file| !begins_with_docs(&file.text))
        .map(|file| {
            Violation::new(&file.path, 1, "must begin with `//!`: what it is and what it is not")
        })
        .collect()
}

fn begins_with_docs(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| !line.starts_with("#![")).is_some_and(|line| line.starts_with("//! "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_may_stand_before() {
        assert!(begins_with_docs("#![no_main]\n\n//! A target.\n"));
        assert!(!begins_with_docs("use std::fmt;\n//! Too late.\n"));
        assert!(!begins_with_docs(""));
    }
}
