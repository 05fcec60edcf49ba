//! Picks figures out of what the server and the system say.

/// Sum of the samples of a metric in Prometheus' text form whose labels contain every text of `labels`;
/// `None` when there is no such sample.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (this, its_labels) = series.split_once('{').unwrap_or((series, ""));
        if this == name && labels.iter().all(|label| its_labels.contains(label)) {
            found = Some(found.unwrap_or(0.0) + value.parse::<f64>().unwrap_or(0.0));
        }
    }
    found
}

/// A figure of `/proc/PID/status` in KiB, such as `VmHWM`.
pub(crate) fn proc_status_kib(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_matching_labels() {
        let text = "# HELP a\na{b=\"1\",c=\"2\"} 3\na{b=\"1\",c=\"3\"} 4\nab 9\nd 2\n";
        assert_eq!(metric(text, "a", &["b=\"1\""]), Some(7.0));
        assert_eq!(metric(text, "a", &["c=\"3\""]), Some(4.0));
        assert_eq!(metric(text, "a", &["c=\"5\""]), None);
        assert_eq!(metric(text, "d", &[]), Some(2.0));
    }

    #[test]
    fn this_process_has_a_size() {
        assert!(proc_status_kib(std::process::id(), "VmRSS:").is_some_and(|kib| kib > 0));
    }
}
