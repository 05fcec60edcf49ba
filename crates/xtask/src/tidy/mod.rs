//! Rules about the source that no compiler checks. Each file here is one rule; a rule is a function from
//! the workspace to violations, and knows nothing of the others.

mod banned;
mod dependencies;
mod edges;
mod lexer;
mod manifests;
mod module_docs;
mod sizes;
mod workspace;

use std::fmt;
use std::path::Path;

use workspace::Workspace;

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Path from the workspace's root.
    pub(crate) path: String,
    /// From 1; 0 for the whole file.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl Violation {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{}: {}", self.path, line, self.message),
        }
    }
}

/// All violations in the workspace at `root`, in order of path and line.
///
/// # Errors
/// When the workspace cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let workspace = Workspace::load(root)?;
    let rules: [fn(&Workspace) -> Vec<Violation>; 6] = [
        edges::check,
        dependencies::check,
        manifests::check,
        sizes::check,
        module_docs::check,
        banned::check,
    ];
    let mut violations: Vec<_> = rules.iter().flat_map(|rule| rule(&workspace)).collect();
    violations.sort();
    Ok(violations)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let violations = super::check(&crate::workspace_root()).expect("the workspace can be read");
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
