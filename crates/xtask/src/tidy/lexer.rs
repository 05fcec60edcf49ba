//! Just enough of Rust's syntax to measure functions: comments and literals are blanked out, then braces
//! are counted. It is not a parser, and what macros make is not seen.

/// What was measured in one file.
pub(super) struct Source {
    /// Lines that are not inside a `#[cfg(test)]` module.
    pub(super) production_lines: usize,
    /// Functions outside of such modules, closures and nested functions counted into their owner's lines.
    pub(super) functions: Vec<Function>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub(super) name: String,
    /// Line of its `fn`, from 1.
    pub(super) line: usize,
    /// Lines from there to its closing brace, both counted.
    pub(super) lines: usize,
}

/// Measures `text`.
pub(super) fn scan(text: &str) -> Source {
    let code = blank(text);
    let tests = test_modules(&code);
    let outside = |line: &usize| !tests.iter().any(|(first, last)| (first..=last).contains(&line));
    let total = text.lines().count();
    let mut functions = functions(&code);
    functions.retain(|function| outside(&function.line));
    Source { production_lines: (1..=total).filter(outside).count(), functions }
}

/// The same text with comments, strings and character literals overwritten by spaces, lines kept.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_end(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                at += 1;
                continue;
            }
        };
        out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends (exclusive), if one begins there.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        let found = rest.get(from..)?.windows(what.len()).position(|w| w == what)?;
        Some(from + found + what.len())
    };
    let end = match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n'),
        [b'/', b'*', ..] => find(2, b"*/"),
        [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b' => {
            let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return None;
            }
            let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            find(2 + hashes, &close)
        }
        [b'"', ..] => string_end(rest),
        [b'\'', b'\\', ..] => rest.iter().skip(3).position(|b| *b == b'\'').map(|p| p + 4),
        [b'\'', ..] => return char_end(rest).map(|end| at + end),
        _ => return None,
    };
    Some(end.map_or(bytes.len(), |end| at + end))
}

fn string_end(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// A character literal of one character; anything else after a `'` is a lifetime.
fn char_end(rest: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let first = match text {
        Ok(text) => text.chars().next()?,
        Err(error) => {
            let valid = &rest[1..1 + error.valid_up_to()];
            std::str::from_utf8(valid).ok()?.chars().next()?
        }
    };
    let end = 1 + first.len_utf8();
    (rest.get(end) == Some(&b'\'')).then_some(end + 1)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// First and last line of each `#[cfg(test)]` item that has a body.
fn test_modules(code: &str) -> Vec<(usize, usize)> {
    let mark = "#[cfg(test)]";
    let mut found = Vec::new();
    for (at, _) in code.match_indices(mark) {
        let rest = &code[at + mark.len()..];
        let body = rest.find(['{', ';']);
        if let Some(open) = body.filter(|open| rest.as_bytes()[*open] == b'{') {
            let open = at + mark.len() + open;
            found.push((line_of(code, at), line_of(code, close_of(code, open))));
        }
    }
    found
}

fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let rest = &code[at + 3..];
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(open) = body_of(rest) {
            let open = at + 3 + open;
            let (line, last) = (line_of(code, at), line_of(code, close_of(code, open)));
            found.push(Function { name, line, lines: last - line + 1 });
        }
    }
    found
}

/// Offset of the brace that opens a function's body; `None` for a declaration, which ends with `;`.
fn body_of(signature: &str) -> Option<usize> {
    let mut depth = 0i32;
    for (offset, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Offset of the brace that closes the one at `open`; the last byte when there is none.
fn close_of(code: &str, open: usize) -> usize {
    let mut depth = 0i32;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset;
        }
    }
    code.len().saturating_sub(1)
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"//! A { file.
fn one<'a>(x: &'a str) -> [u8; 2] {
    let brace = '{';
    let text = "} \" {";
    let raw = r#"} " {"#;
    [0; 2] /* } */
}

trait T {
    fn declared(&self, pad: [u8; 3]);
    fn given(&self) {}
}

#[cfg(test)]
mod tests {
    fn long() {
        //
    }
}
"##;

    #[test]
    fn functions_are_measured_and_tests_left_out() {
        let source = scan(SAMPLE);
        let expected = [("one", 2, 6), ("given", 11, 1)];
        let expected =
            expected.map(|(name, line, lines)| Function { name: name.to_owned(), line, lines });
        assert_eq!(source.functions, expected);
        assert_eq!(source.production_lines, 13);
    }

    #[test]
    fn escapes_and_lifetimes() {
        let text = "fn f<'a>() { let q = '\\''; let c = '\"'; let e = 'é'; } fn g() {}";
        assert_eq!(scan(text).functions.len(), 2);
    }
}
