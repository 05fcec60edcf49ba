//! The log that `record.c` writes: parsing it, and nothing of what it means.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// A call that the recorded process made on a file below the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Write,
    SetLen,
    Sync,
    Close,
    Rename,
    Unlink,
    MakeDir,
    RemoveDir,
    Dup,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) call: Call,
    pub(super) fd: u32,
    /// Flags, offset, length or another descriptor: see `record.c`.
    pub(super) number: u64,
    bytes: Range<usize>,
    /// The absolute path that it names; of a rename both, with a zero byte between.
    path: String,
}

/// A whole log in memory.
pub(super) struct Log {
    content: Vec<u8>,
    pub(super) ops: Vec<Op>,
}

const HEAD_LEN: usize = 24;

impl Log {
    /// Reads a log whose process has ended.
    pub(super) fn read(path: &Path) -> Self {
        let content = std::fs::read(path).expect("the log is there");
        let mut ops = Vec::new();
        let mut open: HashMap<u64, String> = HashMap::new();
        let mut at = 0;
        while at < content.len() {
            let head = &content[at..at + HEAD_LEN];
            let small = |at| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let large = |at| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
            let call = match small(0) {
                1 => Call::Open,
                2 => Call::Write,
                3 => Call::SetLen,
                4 => Call::Sync,
                5 => Call::Close,
                6 => Call::Rename,
                7 => Call::Unlink,
                8 => Call::MakeDir,
                9 => Call::RemoveDir,
                10 => Call::Dup,
                kind => panic!("system call {} is not understood (kind {kind})", large(8)),
            };
            at += HEAD_LEN;
            let (fd, mut number) = (small(4), large(8));
            let bytes = at..at + large(16) as usize;
            at = bytes.end;
            let mut path = String::new();
            if matches!(
                call,
                Call::Open | Call::Rename | Call::Unlink | Call::MakeDir | Call::RemoveDir
            ) {
                if let Some(dir) = (number >> 32).checked_sub(1) {
                    path = format!("{}/", open[&dir]);
                }
                number &= 0xffff_ffff;
                path += std::str::from_utf8(&content[bytes.clone()]).expect("paths are text");
            }
            match call {
                Call::Open => drop(open.insert(fd.into(), path.clone())),
                Call::Dup => drop(open.insert(number, open[&u64::from(fd)].clone())),
                _ => {}
            }
            ops.push(Op { call, fd, number, bytes, path });
        }
        Self { content, ops }
    }

    /// What an entry carries.
    pub(super) fn bytes(&self, op: &Op) -> &[u8] {
        &self.content[op.bytes.clone()]
    }
}

impl Op {
    /// The path that it names.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}
