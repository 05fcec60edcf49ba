//! Which crate may know which: the table of `ARCHITECTURE.md`, enforced.

use super::Violation;
use super::workspace::Workspace;

/// Name, level, and what a crate may depend on. Bottom-up, the list is the architecture. Crates of one level
/// never import each other, but for `runtime`, which speaks in the vocabulary of `types`.
const CRATES: &[(&str, u32, &[&str])] = &[
    ("types", 0, &[]),
    ("runtime", 0, &["types"]),
    ("erasure", 1, &["types", "runtime"]),
    ("placement", 1, &["types", "runtime"]),
    ("shards", 1, &["types", "runtime"]),
    ("net", 2, &["types", "runtime", "shards"]),
    ("kv", 2, &["types", "runtime"]),
    ("tenancy", 3, &["types", "runtime", "kv"]),
    ("objects", 4, &["types", "runtime", "erasure", "placement", "net", "kv", "tenancy"]),
    ("api-s3", 5, &["types", "runtime", "tenancy", "objects"]),
    ("api-http", 5, &["types", "runtime", "tenancy", "objects"]),
    ("bench", 5, &["types", "runtime"]),
    ("undercroft", 6, PRODUCT),
    ("conformance", 7, PRODUCT),
    ("xtask", 7, &[]),
];

/// Everything below the binary.
const PRODUCT: &[&str] = &[
    "types",
    "runtime",
    "erasure",
    "placement",
    "shards",
    "net",
    "kv",
    "tenancy",
    "objects",
    "api-s3",
    "api-http",
    "bench",
];

/// Normal dependencies stay within the table; those of tests, within the levels below.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let manifest = format!("crates/{}/Cargo.toml", package.name);
        let Some((_, level, allowed)) = find(&package.name) else {
            let message = "this crate is not in the table of crates/xtask/src/tidy/edges.rs";
            violations.push(Violation::new(manifest, 0, message));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.is_ours()) {
            let below = find(&dependency.name).is_some_and(|(_, other, _)| other < level);
            let fine =
                allowed.contains(&dependency.name.as_str()) || (dependency.is_dev() && below);
            if !fine {
                let message = format!("`{}` may not know `{}`", package.name, dependency.name);
                violations.push(Violation::new(manifest.clone(), 0, message));
            }
        }
    }
    violations
}

fn find(name: &str) -> Option<&'static (&'static str, u32, &'static [&'static str])> {
    CRATES.iter().find(|(known, _, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_edge_upwards() {
        for (name, level, allowed) in CRATES {
            for other in *allowed {
                let (_, other_level, _) = find(other).expect("every edge ends in the table");
                let vocabulary = (*name, *other) == ("runtime", "types");
                assert!(other_level < level || vocabulary, "{name} -> {other}");
            }
        }
    }
}
