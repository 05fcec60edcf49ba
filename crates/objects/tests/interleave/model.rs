//! What clients may be told: a bucket with objects and one upload, changed by one operation after the other. A
//! history of concurrent operations is right if some order of them, none against the clock, tells the same.

use std::collections::BTreeMap;

use crate::bodies::Content;

/// The name of an object.
pub type Name = &'static str;
/// The object that the upload makes.
pub const MADE: Name = "made";

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Name, Content),
    /// Only if there is none.
    PutNew(Name, Content),
    Delete(Name),
    /// From, to.
    Copy(Name, Name),
    Get(Name),
    DeleteBucket,
    Part(u16, Content),
    Complete(&'static [(u16, Content)]),
    Abort,
    /// What DeleteBucket does to uploads, whatever comes of it, while there is no object.
    GiveUploadsUp,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    Deleted(bool),
    Read(Vec<u8>),
    NoSuchKey,
    NoSuchBucket,
    NotEmpty,
    NoSuchUpload,
    InvalidPart,
    Precondition,
    /// Certainly nothing happened.
    Refused,
    /// It may have happened.
    Unknown,
}

/// A current object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    parts: Vec<Content>,
    /// Whether completing the upload again is answered with it.
    uploaded: bool,
}

impl Object {
    fn plain(content: Content) -> Self {
        Self { parts: vec![content], uploaded: false }
    }

    fn bytes(&self) -> Vec<u8> {
        self.parts.iter().flat_map(|part| part.bytes()).collect()
    }
}

/// All that clients can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub bucket: bool,
    pub objects: BTreeMap<Name, Object>,
    pub upload: Option<BTreeMap<u16, Content>>,
}

/// The same as it was found: bytes, and lengths and ETags of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub bucket: bool,
    pub objects: BTreeMap<Name, Vec<u8>>,
    pub upload: Option<BTreeMap<u16, (u64, String)>>,
}

impl State {
    /// An empty bucket and an upload.
    pub fn new() -> Self {
        Self { bucket: true, objects: BTreeMap::new(), upload: Some(BTreeMap::new()) }
    }

    pub fn seen(&self) -> Seen {
        let part =
            |(number, content): (&u16, &Content)| (*number, (content.len as u64, content.etag()));
        Seen {
            bucket: self.bucket,
            objects: self.objects.iter().map(|(name, object)| (*name, object.bytes())).collect(),
            upload: self.upload.as_ref().map(|parts| parts.iter().map(part).collect()),
        }
    }

    /// Does one operation.
    pub fn apply(&mut self, op: &Op) -> Told {
        if !self.bucket {
            return match op {
                Op::Part(..) | Op::Complete(_) | Op::Abort => Told::NoSuchUpload,
                _ => Told::NoSuchBucket,
            };
        }
        match op {
            Op::PutNew(name, _) if self.objects.contains_key(name) => Told::Precondition,
            Op::Put(name, content) | Op::PutNew(name, content) => {
                self.objects.insert(name, Object::plain(*content));
                Told::Done
            }
            Op::Delete(name) => Told::Deleted(self.objects.remove(name).is_some()),
            Op::Copy(from, to) => match self.objects.get(from).cloned() {
                Some(object) => {
                    self.objects.insert(to, Object { uploaded: false, ..object });
                    Told::Done
                }
                None => Told::NoSuchKey,
            },
            Op::Get(name) => match self.objects.get(name) {
                Some(object) => Told::Read(object.bytes()),
                None => Told::NoSuchKey,
            },
            Op::DeleteBucket if !self.objects.is_empty() => Told::NotEmpty,
            Op::DeleteBucket => {
                (self.bucket, self.upload) = (false, None);
                Told::Done
            }
            Op::GiveUploadsUp => {
                if self.objects.is_empty() {
                    self.upload = None;
                }
                Told::Done
            }
            Op::Part(number, content) => match &mut self.upload {
                Some(parts) => {
                    parts.insert(*number, *content);
                    Told::Done
                }
                None => Told::NoSuchUpload,
            },
            Op::Complete(listed) => self.complete(listed),
            Op::Abort => match self.upload.take() {
                Some(_) => Told::Done,
                None => Told::NoSuchUpload,
            },
        }
    }

    fn complete(&mut self, listed: &[(u16, Content)]) -> Told {
        let contents: Vec<Content> = listed.iter().map(|(_, content)| *content).collect();
        match &self.upload {
            Some(parts) => {
                if listed.iter().any(|(number, content)| parts.get(number) != Some(content)) {
                    return Told::InvalidPart;
                }
                self.upload = None;
                self.objects.insert(MADE, Object { parts: contents, uploaded: true });
                Told::Done
            }
            None => {
                let same = |object: &Object| object.uploaded && object.parts == contents;
                let made = self.objects.get(MADE).is_some_and(same);
                if made { Told::Done } else { Told::NoSuchUpload }
            }
        }
    }
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Event {
    pub op: Op,
    pub told: Told,
    /// Moments of the schedule, both included.
    pub began: usize,
    pub ended: usize,
}

/// Whether some order of `events`, from `start`, tells every client what it was told, and ends as was seen.
pub fn explains(start: &State, events: &[Event], end: &Seen) -> bool {
    let mut left: Vec<(Event, bool)> = Vec::new();
    for event in events {
        match event.told {
            Told::Refused => continue,
            Told::Unknown => left.push((event.clone(), true)),
            _ => left.push((event.clone(), false)),
        }
        if event.op == Op::DeleteBucket {
            left.push((Event { op: Op::GiveUploadsUp, told: Told::Unknown, ..*event }, true));
        }
    }
    search(start, &left, end)
}

fn search(state: &State, left: &[(Event, bool)], end: &Seen) -> bool {
    if left.iter().all(|(_, optional)| *optional) && state.seen() == *end {
        return true;
    }
    // Nobody goes before one who had ended when they began.
    let first_end = left.iter().filter(|(_, optional)| !optional).map(|(event, _)| event.ended);
    let first_end = first_end.min().unwrap_or(usize::MAX);
    (0..left.len()).any(|at| {
        let (event, optional) = &left[at];
        if event.began > first_end {
            return false;
        }
        let mut next = state.clone();
        let told = next.apply(&event.op);
        let rest: Vec<_> = [&left[..at], &left[at + 1..]].concat();
        (*optional || told == event.told) && search(&next, &rest, end)
    })
}
