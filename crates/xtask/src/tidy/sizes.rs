//! Files stay short and functions stay shorter. Two limits, and a ratchet for what was longer when it came:
//! an entry of `crates/xtask/ratchet.txt` may only go down, and goes away when it is met.

use std::collections::BTreeMap;

use super::Violation;
use super::lexer::{self, Function};
use super::workspace::Workspace;

/// Lines of production code in one file; its tests do not count.
const FILE_MAX_LINES: usize = 800;
/// Lines of one function, from its `fn` to its closing brace.
const FUNCTION_MAX_LINES: usize = 70;

const RATCHET: &str = "crates/xtask/ratchet.txt";

/// Measures every Rust file.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (mut ratchet, malformed) =
        workspace.file(RATCHET).map_or_else(Default::default, parse_ratchet);
    violations.extend(malformed);
    for file in workspace.files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        let source = lexer::scan(&file.text);
        if source.production_lines > FILE_MAX_LINES {
            let lines = source.production_lines;
            let message =
                format!("{lines} lines of production code, more than {FILE_MAX_LINES}: split it");
            violations.push(Violation::new(&file.path, 0, message));
        }
        for function in source.functions.iter().filter(|f| f.lines > FUNCTION_MAX_LINES) {
            let entry = ratchet.remove(&format!("{} {}", file.path, function.name));
            violations.extend(judge(&file.path, function, entry));
        }
    }
    let stale = |name: &String| format!("`{name}` has met the limit: remove its line");
    violations.extend(
        ratchet.iter().map(|(name, (line, _))| Violation::new(RATCHET, *line, stale(name))),
    );
    violations
}

/// An entry must say exactly how long the function is: longer is a violation of the rule, shorter is a
/// ratchet that was not turned.
fn judge(path: &str, function: &Function, entry: Option<(usize, usize)>) -> Option<Violation> {
    let (name, lines) = (&function.name, function.lines);
    match entry {
        Some((_, allowed)) if lines == allowed => None,
        Some((at, allowed)) if lines < allowed => Some(Violation::new(
            RATCHET,
            at,
            format!("`{name}` has {lines} lines now: lower its number"),
        )),
        _ => {
            let message =
                format!("`{name}` has {lines} lines, more than {FUNCTION_MAX_LINES}: split it");
            Some(Violation::new(path, function.line, message))
        }
    }
}

/// Lines of `path function lines`; `#` begins a comment. Gives `"path function"` -> (line, lines).
fn parse_ratchet(
    file: &super::workspace::SourceFile,
) -> (BTreeMap<String, (usize, usize)>, Vec<Violation>) {
    let (mut entries, mut malformed) = (BTreeMap::new(), Vec::new());
    for (index, line) in file.text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            [path, name, lines] if lines.parse::<usize>().is_ok() => {
                let lines = lines.parse().unwrap_or_default();
                entries.insert(format!("{path} {name}"), (index + 1, lines));
            }
            _ => {
                malformed.push(Violation::new(RATCHET, index + 1, "must be `path function lines`"))
            }
        }
    }
    (entries, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratchet_only_turns_one_way() {
        let function = Function { name: "f".to_owned(), line: 3, lines: 80 };
        assert_eq!(judge("a.rs", &function, Some((1, 80))), None);
        assert!(judge("a.rs", &function, Some((1, 90))).is_some_and(|v| v.path == RATCHET));
        assert!(judge("a.rs", &function, Some((1, 75))).is_some_and(|v| v.path == "a.rs"));
        assert!(judge("a.rs", &function, None).is_some_and(|v| v.line == 3));
    }
}
