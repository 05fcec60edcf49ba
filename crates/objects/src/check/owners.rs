//! Who loses something when a blob, a part or a body cannot be read.

use std::borrow::Cow;
use std::ops::Range;

use kv::KvError;
use types::{UploadId, VersionId};

use super::cursor::Cursor;
use super::{Around, Checker, Found, Lost, Problem, ProblemKind, Subject, keys};
use crate::schema::Record as _;
use crate::schema::manifest::Manifest;
use crate::schema::part::{self, Part};
use crate::schema::reference::{self, Owner, Reference, Target};

/// Owners of one thing that are told of.
const OWNERS_MAX: usize = 1000;

/// Somebody who needs a blob or a part.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) subject: Subject,
    /// The version; `None` for an upload in progress.
    version: Option<VersionId>,
    part: Option<u16>,
    /// Where in the object the part begins.
    offset: u64,
}

impl<'a> Checker<'a> {
    /// Who needs a blob or a part set.
    pub(super) async fn owners(
        &self,
        target: Target,
        here: &Around<'a>,
    ) -> Result<Vec<Owned>, KvError> {
        let mut found = Vec::new();
        let mut all = Cursor::new(self.reader, keys::references(here.token, target));
        while let Some(entry) = all.next().await? {
            let owner = reference::parse_key(entry.key.as_bytes()).map(|(_, owner)| owner);
            let place = Reference::decode(&entry.value).ok();
            let (Some(owner), Some(place)) = (owner, place) else { continue };
            match owner {
                Owner::Version(version) => found.push(Owned {
                    subject: self.subject(place.bucket, &place.key),
                    version: Some(version),
                    part: None,
                    offset: 0,
                }),
                Owner::Part(upload, number) => {
                    found.extend(Box::pin(self.part_owners(upload, number, here)).await?);
                }
            }
            if found.len() >= OWNERS_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Who needs a part: its upload while that is in progress, afterwards the objects made of it.
    pub(super) async fn part_owners(
        &self,
        upload: UploadId,
        number: u16,
        here: &Around<'a>,
    ) -> Result<Vec<Owned>, KvError> {
        if let Some(subject) = here.uploads.get(&upload) {
            let subject = subject.clone();
            return Ok(vec![Owned { subject, version: None, part: Some(number), offset: 0 }]);
        }
        let manifest: Found<Manifest> = self.get(&keys::manifest(here.token, upload)).await?;
        let Found::Good(manifest) = manifest else { return Ok(Vec::new()) };
        if !manifest.contains(number) {
            return Ok(Vec::new());
        }
        let offset = self.part_offset(upload, number, &manifest, here).await?;
        let mut owners = self.owners(Target::PartSet(upload), here).await?;
        for owner in &mut owners {
            (owner.part, owner.offset) = (Some(number), offset);
        }
        Ok(owners)
    }

    async fn part_offset(
        &self,
        upload: UploadId,
        number: u16,
        manifest: &Manifest,
        here: &Around<'a>,
    ) -> Result<u64, KvError> {
        let (first, mut offset) = manifest.checkpoint_of(number).unwrap_or((0, 0));
        let range = keys::parts(here.token, upload);
        let from = range.starting_at(keys::part(here.token, upload, first));
        let Some(from) = from else { return Ok(offset) };
        let mut parts = Cursor::new(self.reader, from);
        while let Some(entry) = parts.next().await? {
            match part::parse_key(entry.key.as_bytes()) {
                Some((_, at)) if at >= number => break,
                Some((_, at)) if manifest.contains(at) => {
                    offset += Part::decode(&entry.value).map_or(0, |part| part.len);
                }
                _ => {}
            }
        }
        Ok(offset)
    }

    /// Tells that bytes of these owners are lost. `model` has the rest of what is to be told.
    pub(super) fn tell_lost(&mut self, owners: &[Owned], bytes: &[Range<u64>], model: &Problem) {
        for owner in owners {
            let lost = bytes.iter().map(|range| Lost {
                part: owner.part,
                bytes: owner.offset + range.start..owner.offset + range.end,
            });
            let is_object = owner.version.is_some();
            self.lost.extend(owner.version);
            let kind = if is_object { ProblemKind::ObjectLost } else { ProblemKind::PartLost };
            let remedy = match &model.remedy {
                Cow::Borrowed(_) => Cow::Borrowed(kind.remedy()),
                special => special.clone(),
            };
            (self.report)(Problem {
                kind,
                object: Some(owner.subject.clone()),
                lost: lost.collect(),
                remedy,
                ..model.clone()
            });
        }
    }
}
