//! The outcome of a check for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::document::{Document, Problem};

/// Problems of one kind that are shown.
const SHOWN: usize = 20;

/// The report, with a newline at its end.
pub(super) fn text(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(document, &mut out);
    out
}

fn write(document: &Document, out: &mut String) -> std::fmt::Result {
    for drive in &document.drives {
        let id = drive.id.as_deref().unwrap_or("?");
        if drive.state == "checked" {
            writeln!(
                out,
                "Drive {id} ({}): {} shards in {} segments and {} files, {} read",
                drive.path,
                drive.shards,
                drive.segments,
                drive.files,
                size(drive.bytes)
            )?;
        } else {
            writeln!(out, "Drive {id} ({}): {}", drive.path, drive.state)?;
        }
    }
    let counts = document.counts();
    if document.error.is_none() {
        writeln!(
            out,
            "Metadata ({}): {} buckets, {} objects ({}), {} blobs, {} uploads in progress",
            document.metadata,
            counts.buckets,
            counts.objects,
            size(counts.object_bytes),
            counts.blobs,
            counts.uploads
        )?;
        writeln!(
            out,
            "Work that waits: {} garbage records, {} repair tasks, {} shards that no record names ({}; {} of \
             them kept, as nobody knows their writer)",
            counts.garbage,
            counts.repair_tasks,
            counts.orphan_shards,
            size(counts.bytes_unnamed),
            counts.kept_orphan_shards
        )?;
    }
    problems(document, out)?;
    conclusion(document, out)
}

/// Grouped by kind and remedy, the worst first.
fn problems(document: &Document, out: &mut String) -> std::fmt::Result {
    type Group<'a> = (std::cmp::Reverse<u8>, &'a str, &'a str);
    let mut groups: BTreeMap<Group<'_>, Vec<&Problem>> = BTreeMap::new();
    for problem in document.problems.iter() {
        let group = (std::cmp::Reverse(problem.rank), problem.kind, problem.remedy.as_str());
        groups.entry(group).or_default().push(problem);
    }
    for ((_, kind, remedy), group) in groups {
        let severity = group.first().map_or("", |problem| problem.severity);
        writeln!(out, "\n{severity}: {kind}, {} in all. {remedy}", group.len())?;
        for problem in group.iter().take(SHOWN) {
            one(problem, out)?;
        }
        if group.len() > SHOWN {
            writeln!(out, "  and {} more; --json lists them", group.len() - SHOWN)?;
        }
    }
    if document.left_out() > 0 {
        writeln!(out, "\n{} further problems were not kept.", document.left_out())?;
    }
    Ok(())
}

fn one(problem: &Problem, out: &mut String) -> std::fmt::Result {
    write!(out, "  ")?;
    if let Some(object) = &problem.object {
        write!(out, "{}: ", printable(object))?;
    }
    write!(out, "{}", printable(&problem.message))?;
    for lost in &problem.lost {
        match lost.part {
            Some(part) => write!(out, " Part {part}, bytes {} to {}.", lost.from, lost.to)?,
            None => write!(out, " Bytes {} to {}.", lost.from, lost.to)?,
        }
    }
    if let Some(path) = &problem.path {
        write!(out, " ({})", printable(path))?;
    }
    writeln!(out)
}

fn conclusion(document: &Document, out: &mut String) -> std::fmt::Result {
    let counts = document.counts();
    match document.status {
        "clean" => writeln!(out, "\nClean: everything verifies."),
        "damaged" => writeln!(
            out,
            "\nDamaged, and nothing is lost: all objects can be read. {} of {} blobs have fewer shards than they \
             should.",
            counts.degraded_blobs, counts.blobs
        ),
        "lost" => writeln!(
            out,
            "\nBytes of {} of {} objects are lost, or records are wrong: see above.",
            counts.lost_objects, counts.objects
        ),
        _ => {
            let error = document.error.as_deref().unwrap_or("the check did not end");
            writeln!(out, "\nNot checked: {error}.")
        }
    }
}

/// Control characters would let a key's name write over the report.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn names_write_nothing_over_the_report() {
        assert_eq!(printable("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
    }
}
