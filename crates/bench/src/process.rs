//! What processes of this machine use, as the kernel tells it under `/proc`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use runtime::disk::{Disk, RealDisk};

use crate::BenchError;

/// Kernel time units a second: fixed at 100 in the interface to programs, whatever the kernel uses
/// inside.
const TICKS_PER_SECOND: u64 = 100;

/// Processes that are watched.
pub(crate) struct Watch {
    pids: Vec<u32>,
}

impl Watch {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// Processor time of all processes so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Duration, BenchError> {
        let mut ticks = 0;
        for &pid in &self.pids {
            let of_one = read(pid, "stat").and_then(|text| {
                cpu_ticks(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            });
            ticks += of_one.map_err(|source| BenchError::Process { pid, source })?;
        }
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// Resident memory of all processes now, in bytes; a process that is gone counts nothing.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let of_one = |&pid: &u32| read(pid, "status").ok().as_deref().and_then(resident_kib);
        self.pids.iter().filter_map(of_one).sum::<u64>() * 1024
    }
}

fn read(pid: u32, name: &str) -> io::Result<String> {
    let path: PathBuf = ["/proc", &pid.to_string(), name].iter().collect();
    let file = RealDisk.open(&path, false)?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let len = file.read_at(&mut buffer, text.len() as u64)?;
        if len == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&buffer[..len]);
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second field is the program's name in brackets and may
/// hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_the_kernel() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 99 1000 200 1";
        assert_eq!(cpu_ticks(stat), Some(175));
        assert_eq!(cpu_ticks("12 (x) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   1234 kB\nThreads: 1\n"), Some(1234));
        assert_eq!(resident_kib("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process() {
        let watch = Watch::new(vec![std::process::id()]);
        assert!(watch.cpu().is_ok() && watch.resident_bytes() > 1 << 20);
        assert!(matches!(Watch::new(vec![u32::MAX]).cpu(), Err(BenchError::Process { .. })));
        assert!(Watch::new(vec![]).is_empty());
    }
}
