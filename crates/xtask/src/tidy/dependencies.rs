//! One outside library, one crate: the table of `docs/dependencies.md` says who may use what, and this rule
//! reads the fence from there, so that the page and the check cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::workspace::Workspace;

const PAGE: &str = "docs/dependencies.md";
const TEST_CRATE: &str = "conformance";

/// Who may use a library.
#[derive(Debug, PartialEq, Eq)]
enum Fence {
    /// Everybody.
    Any,
    /// Only tests, and the crate that is nothing but tests.
    Tests,
    /// These crates; any crate's tests may, too.
    Crates(BTreeSet<String>),
}

/// Every outside dependency is a row of the page and stays within its fence; every row is in use.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let Some(page) = workspace.file(PAGE) else {
        return vec![Violation::new(PAGE, 0, "is missing")];
    };
    let rows = parse(&page.text);
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for package in &workspace.packages {
        let manifest = format!("crates/{}/Cargo.toml", package.name);
        for dependency in package.dependencies.iter().filter(|d| !d.is_ours()) {
            used.insert(dependency.name.clone());
            let name = &dependency.name;
            let complaint = match rows.get(name) {
                None => format!("`{name}` has no row in {PAGE}: say there why it is needed"),
                Some((_, Fence::Any)) => continue,
                Some(_) if dependency.is_dev() => continue,
                Some((_, Fence::Tests)) if package.name == TEST_CRATE => continue,
                Some((_, Fence::Tests)) => format!("`{name}` is for tests only ({PAGE})"),
                Some((_, Fence::Crates(fence))) if fence.contains(&package.name) => continue,
                Some(_) => format!("`{name}` is fenced away from `{}` ({PAGE})", package.name),
            };
            violations.push(Violation::new(manifest.clone(), 0, complaint));
        }
    }
    for (name, (line, _)) in rows.iter().filter(|(name, _)| !used.contains(*name)) {
        let message = format!("`{name}` is not used any more: remove the row");
        violations.push(Violation::new(PAGE, *line, message));
    }
    violations
}

/// Rows look like ``| `name` | fence | …``; the fence is `any`, `tests`, or crates between commas.
fn parse(page: &str) -> BTreeMap<String, (usize, Fence)> {
    let mut rows = BTreeMap::new();
    for (index, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, fence, _, ..] = cells.as_slice() else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')) else { continue };
        let fence = match *fence {
            "any" => Fence::Any,
            "tests" => Fence::Tests,
            list => Fence::Crates(list.split(',').map(|c| c.trim().to_owned()).collect()),
        };
        rows.insert(name.to_owned(), (index + 1, fence));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let page = "# x\n| crate | used by | why |\n|---|---|---|\n| `a` | any | w |\n| `b` | kv, net | w |\n| `c` | tests | w |\n";
        let rows = parse(page);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows["a"], (4, Fence::Any));
        let crates = ["kv", "net"].map(str::to_owned).into();
        assert_eq!(rows["b"], (5, Fence::Crates(crates)));
        assert_eq!(rows["c"], (6, Fence::Tests));
    }
}
