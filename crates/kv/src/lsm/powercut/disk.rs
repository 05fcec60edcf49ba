//! The crash model: what of a recorded history may be on the disk once the power has failed. See `mod.rs` for
//! the rules in words.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use runtime::{Entropy, SimEntropy};

use super::log::{Call, Log, Op};

/// When a change of a name is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Changes of names are in one journal of the file system and survive in order.
    Ordered,
    /// Each directory is on its own.
    Strict,
}

/// What becomes of all that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    /// It is lost.
    Lost,
    /// It is there.
    Kept,
    /// The dice say, for each name, file and sector.
    Diced,
}

/// A kind of crash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub(super) rule: Names,
    pub(super) names: Unsynced,
    pub(super) data: Unsynced,
}

/// Randomness from a seed.
pub(super) struct Dice(SimEntropy);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SimEntropy::new(seed))
    }

    /// From 0 up to but without `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.0.nonzero_u64() % bound as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The bytes of a file; what is behind `data` up to `len` is zero.
#[derive(Clone, Default, PartialEq, Eq)]
struct Image {
    data: Vec<u8>,
    len: u64,
}

impl Image {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[begin..end].copy_from_slice(bytes);
        self.len = self.len.max(end as u64);
    }

    fn set_len(&mut self, len: u64) {
        self.data.truncate(len as usize);
        self.len = len;
    }

    fn store(&self, path: &Path) {
        std::fs::write(path, &self.data).expect("writes");
        let file = std::fs::File::options().write(true).open(path).expect("opens");
        file.set_len(self.len).expect("sets the length");
    }
}

#[derive(Clone, Debug)]
enum Change {
    /// Index of the operation that holds the bytes, and where they go.
    Write {
        op: usize,
        offset: u64,
        len: usize,
    },
    SetLen(u64),
}

impl Change {
    fn apply(&self, image: &mut Image, log: &Log) {
        match self {
            Self::Write { op, offset, .. } => image.write(*offset, log.bytes(&log.ops[*op])),
            Self::SetLen(len) => image.set_len(*len),
        }
    }

    /// The file's length behind it.
    fn len(&self, before: u64) -> u64 {
        match self {
            Self::Write { offset, len, .. } => before.max(offset + *len as u64),
            Self::SetLen(len) => *len,
        }
    }
}

#[derive(Default)]
struct Inode {
    durable: Image,
    /// Changes since the last sync, oldest first.
    pending: Vec<Change>,
    len: u64,
    /// How many changes of names there had been when this file's name, or its length, last changed.
    named_at: usize,
    sized_at: usize,
}

impl Inode {
    fn change(&mut self, change: Change, names: usize) {
        let len = change.len(self.len);
        if len != self.len {
            self.len = len;
            (self.named_at, self.sized_at) = (names, names);
        }
        self.pending.push(change);
    }

    fn sync(&mut self, log: &Log) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable, log);
        }
    }

    fn current(&self, log: &Log) -> Image {
        let mut image = self.durable.clone();
        self.pending.iter().for_each(|change| change.apply(&mut image, log));
        image
    }

    /// The file after a crash. Its length is one that it had since the sync; each sector of each write has
    /// arrived or not.
    fn crashed(&self, log: &Log, unsynced: Unsynced, dice: &mut Dice) -> Image {
        let mut image = self.durable.clone();
        let (kept, manner) = match unsynced {
            Unsynced::Lost => return image,
            Unsynced::Kept => return self.current(log),
            Unsynced::Diced => (dice.below(self.pending.len() + 1), dice.below(4)),
        };
        let sector = if dice.coin() { 512 } else { 4096 };
        let mut len = image.len;
        for (index, change) in self.pending.iter().enumerate() {
            if index < kept {
                len = change.len(len);
            }
            match change {
                Change::SetLen(_) if index < kept => change.apply(&mut image, log),
                Change::SetLen(_) => {}
                Change::Write { op, offset, .. } => {
                    for (at, bytes) in sectors(*offset, log.bytes(&log.ops[*op]), sector) {
                        let arrived = match manner {
                            // All up to a point; up to a point and a part of the next; any part of all.
                            0 => index < kept,
                            1 => index < kept || (index == kept && dice.coin()),
                            _ => dice.coin(),
                        };
                        if arrived {
                            image.write(at, bytes);
                        }
                    }
                }
            }
        }
        image.set_len(len);
        image
    }
}

/// Cuts a write where sectors end.
fn sectors(offset: u64, bytes: &[u8], sector: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let first = (sector - offset as usize % sector).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(sector).enumerate();
    let rest = rest.map(move |(n, chunk)| (offset + (first + n * sector) as u64, chunk));
    std::iter::once((offset, head)).chain(rest)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    /// Index of the inode.
    File(usize),
}

type Tree = BTreeMap<String, Node>;

/// A change of one name; both halves of a rename have one number and survive together.
#[derive(Clone)]
struct Naming {
    number: usize,
    path: String,
    node: Option<Node>,
}

fn apply(tree: &mut Tree, naming: &Naming) {
    match naming.node {
        Some(node) => tree.insert(naming.path.clone(), node),
        None => tree.remove(&naming.path),
    };
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').expect("paths are absolute").0
}

/// Names under one rule.
struct Book {
    rule: Names,
    durable: Tree,
    pending: Vec<Naming>,
}

impl Book {
    fn settle(&mut self, durable: impl Fn(&Naming) -> bool) {
        for naming in std::mem::take(&mut self.pending) {
            if durable(&naming) {
                apply(&mut self.durable, &naming)
            } else {
                self.pending.push(naming)
            }
        }
    }

    fn crashed(&self, unsynced: Unsynced, dice: &mut Dice) -> Tree {
        let mut tree = self.durable.clone();
        let numbers: Vec<usize> = self.pending.iter().map(|naming| naming.number).collect();
        let last = match (unsynced, numbers.as_slice()) {
            (_, []) | (Unsynced::Lost, _) => 0,
            (Unsynced::Kept, _) => usize::MAX,
            (Unsynced::Diced, [first, ..]) => {
                first + dice.below(numbers[numbers.len() - 1] - first + 2)
            }
        };
        let diced: BTreeMap<usize, bool> =
            numbers.iter().map(|number| (*number, dice.coin())).collect();
        for naming in &self.pending {
            let survives = match (self.rule, unsynced) {
                (Names::Strict, Unsynced::Diced) => diced[&naming.number],
                _ => naming.number < last,
            };
            if survives {
                apply(&mut tree, naming);
            }
        }
        tree
    }
}

struct Handle {
    path: String,
    /// `None`: a directory.
    inode: Option<usize>,
}

/// What was on the disk, durable, before the history began.
#[derive(Default)]
pub(super) struct Before(Vec<(String, Option<Image>)>);

impl Before {
    /// What is below a directory now.
    pub(super) fn look(root: &Path) -> Self {
        let mut before = Self::default();
        before.collect(root);
        before
    }

    fn collect(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).expect("lists") {
            let path = entry.expect("lists").path();
            let name = path.to_str().expect("text").to_owned();
            if path.is_dir() {
                self.0.push((name, None));
                self.collect(&path);
            } else {
                let data = std::fs::read(&path).expect("reads");
                let len = data.len() as u64;
                self.0.push((name, Some(Image { data, len })));
            }
        }
    }
}

/// A history up to a point.
pub(super) struct Disk<'a> {
    log: &'a Log,
    root: &'a str,
    at: usize,
    inodes: Vec<Inode>,
    current: Tree,
    books: [Book; 2],
    /// Changes of names so far, and of each directory's entries the last.
    names: usize,
    entries_at: HashMap<String, usize>,
    handles: HashMap<u32, Handle>,
}

const WRITE_FLAGS: u64 = 0o3;
const CREATE: u64 = 0o100;
const TRUNCATE: u64 = 0o1000;

impl<'a> Disk<'a> {
    /// The directory that was recorded, before the history began.
    pub(super) fn new(log: &'a Log, root: &'a str, before: &Before) -> Self {
        let mut tree = Tree::from([(root.to_owned(), Node::Dir)]);
        let mut inodes = Vec::new();
        for (path, image) in &before.0 {
            let node = image.as_ref().map_or(Node::Dir, |image| {
                let (durable, len) = (image.clone(), image.len);
                inodes.push(Inode { durable, len, ..Inode::default() });
                Node::File(inodes.len() - 1)
            });
            tree.insert(path.clone(), node);
        }
        let book = |rule| Book { rule, durable: tree.clone(), pending: Vec::new() };
        Self {
            log,
            root,
            at: 0,
            inodes,
            current: tree.clone(),
            books: [book(Names::Ordered), book(Names::Strict)],
            names: 0,
            entries_at: HashMap::new(),
            handles: HashMap::new(),
        }
    }

    /// Goes on to the point before operation `at`.
    pub(super) fn advance(&mut self, at: usize) {
        while self.at < at {
            let op = &self.log.ops[self.at];
            self.step(op);
            self.at += 1;
        }
    }

    fn step(&mut self, op: &Op) {
        match op.call {
            Call::Open => self.open(op),
            Call::Write => {
                let len = self.log.bytes(op).len();
                let change = Change::Write { op: self.at, offset: op.number, len };
                self.change(op.fd, change);
            }
            Call::SetLen => self.change(op.fd, Change::SetLen(op.number)),
            Call::Sync => self.sync(op.fd, op.number == 1),
            Call::Close => drop(self.handles.remove(&op.fd)),
            Call::Dup => {
                let Handle { path, inode } = &self.handles[&op.fd];
                let handle = Handle { path: path.clone(), inode: *inode };
                self.handles.insert(op.number as u32, handle);
            }
            Call::Rename => {
                let (from, to) = op.path().split_once('\0').expect("two paths");
                let node = self.current[from];
                assert!(matches!(node, Node::File(_)), "directories are not renamed");
                self.name(&[(from, None), (to, Some(node))]);
            }
            Call::MakeDir => self.name(&[(op.path(), Some(Node::Dir))]),
            Call::Unlink | Call::RemoveDir => self.name(&[(op.path(), None)]),
        }
    }

    fn open(&mut self, op: &Op) {
        let path = op.path().to_owned();
        if !self.current.contains_key(&path) {
            assert!(op.number & CREATE != 0, "{path} was never made");
            self.inodes.push(Inode::default());
            self.name(&[(&path, Some(Node::File(self.inodes.len() - 1)))]);
        }
        let inode = match self.current[&path] {
            Node::Dir => None,
            Node::File(inode) => Some(inode),
        };
        self.handles.insert(op.fd, Handle { path, inode });
        if op.number & TRUNCATE != 0 && op.number & WRITE_FLAGS != 0 {
            self.change(op.fd, Change::SetLen(0));
        }
    }

    fn change(&mut self, fd: u32, change: Change) {
        let inode = self.handles[&fd].inode.expect("a file");
        self.inodes[inode].change(change, self.names);
    }

    /// Notes changes of names that are one.
    fn name(&mut self, changes: &[(&str, Option<Node>)]) {
        self.names += 1;
        for (path, node) in changes {
            let naming = Naming { number: self.names, path: (*path).to_owned(), node: *node };
            apply(&mut self.current, &naming);
            self.entries_at.insert(parent(path).to_owned(), self.names);
            if let Some(Node::File(inode)) = node {
                self.inodes[*inode].named_at = self.names;
            }
            self.books.iter_mut().for_each(|book| book.pending.push(naming.clone()));
        }
    }

    fn sync(&mut self, fd: u32, only_data: bool) {
        let Handle { path, inode } = &self.handles[&fd];
        let upto = match inode {
            Some(inode) => {
                let inode = &mut self.inodes[*inode];
                inode.sync(self.log);
                if only_data { inode.sized_at } else { inode.named_at }
            }
            None => self.entries_at.get(path).copied().unwrap_or(0),
        };
        let is_dir = inode.is_none();
        for book in &mut self.books {
            match book.rule {
                Names::Ordered => book.settle(|naming| naming.number <= upto),
                Names::Strict => book.settle(|naming| is_dir && parent(&naming.path) == path),
            }
        }
    }

    /// Builds the directory `store` of the history as it may be after a crash here, at `target`.
    pub(super) fn crash(&self, crash: Crash, dice: &mut Dice, store: &str, target: &Path) {
        let book = self.books.iter().find(|book| book.rule == crash.rule).expect("one of each");
        let tree = book.crashed(crash.names, dice);
        for (path, node) in &tree {
            let Some(name) = path.strip_prefix(store) else { continue };
            // What a lost directory held is lost with it.
            if !has_parents(&tree, path, self.root) {
                continue;
            }
            let place = target.join(name.trim_start_matches('/'));
            match node {
                Node::Dir => std::fs::create_dir_all(&place).expect("makes"),
                Node::File(inode) => {
                    self.inodes[*inode].crashed(self.log, crash.data, dice).store(&place);
                }
            }
        }
    }

    /// Compares what the history says is there now with what is: nothing was missed.
    pub(super) fn check(&self) {
        for (path, node) in &self.current {
            let found = std::fs::metadata(path).expect(path);
            let Node::File(inode) = node else {
                assert!(found.is_dir(), "{path}");
                assert_eq!(
                    std::fs::read_dir(path).expect(path).count(),
                    self.current.keys().filter(|other| parent(other) == path).count(),
                    "{path}"
                );
                continue;
            };
            let mut image = self.inodes[*inode].current(self.log);
            image.data.resize(image.len as usize, 0);
            assert!(std::fs::read(path).expect(path) == image.data, "{path} was changed unseen");
        }
    }
}

fn has_parents(tree: &Tree, path: &str, root: &str) -> bool {
    let mut path = path;
    while path != root {
        path = parent(path);
        if !matches!(tree.get(path), Some(Node::Dir)) {
            return false;
        }
    }
    true
}
