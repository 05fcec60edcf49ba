//! Text that must not be in the repository, with the reason.

use super::Violation;
use super::workspace::{SourceFile, Workspace};

/// Where a piece of text is banned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In Rust, tests too.
    Rust,
    /// In every text file.
    Everywhere,
    /// In Rust that is part of the product and does not talk to a person.
    Product,
}

// The pieces are cut in two, so that this file does not break its own rule.
const BANNED: &[(Scope, &str, &str)] = &[
    (Scope::Rust, concat!("todo", "!("), "finish it, or leave it out"),
    (Scope::Rust, concat!("unimplemented", "!("), "answer with a typed error"),
    (Scope::Rust, concat!("dbg", "!("), "use tracing"),
    (Scope::Rust, concat!("#[", "ignore"), "a test that does not run is not a test"),
    (Scope::Rust, concat!("// TO", "DO"), "open an issue, or do it"),
    (Scope::Rust, concat!("FIX", "ME"), "open an issue, or do it"),
    (Scope::Product, concat!("println", "!("), "only the binary and the tools talk to a terminal"),
    (Scope::Everywhere, concat!("/wo", "rk/"), "a path of one machine"),
    (Scope::Everywhere, concat!("/ro", "ot/"), "a path of one machine"),
    (Scope::Everywhere, concat!("/ho", "me/"), "a path of one machine"),
];

const TALKERS: [&str; 4] =
    ["crates/undercroft/", "crates/bench/", "crates/xtask/", "crates/conformance/"];

/// Looks for each piece in each file it is banned from.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<Violation> {
    let talks = TALKERS.iter().any(|folder| file.path.starts_with(folder));
    let applies = |scope| match scope {
        Scope::Everywhere => true,
        Scope::Rust => file.is_rust(),
        Scope::Product => file.is_rust() && !file.is_test() && !talks,
    };
    let rules: Vec<_> = BANNED.iter().filter(|(scope, _, _)| applies(*scope)).collect();
    let mut violations = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for (_, text, reason) in rules.iter().filter(|(_, text, _)| line.contains(text)) {
            let message = format!("`{text}` is banned: {reason}");
            violations.push(Violation::new(&file.path, index + 1, message));
        }
    }
    violations
}
