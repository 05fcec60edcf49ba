//! Uploads in progress, parts, and manifests.

use kv::{Entry, KvError};
use types::UploadId;

use super::cursor::Cursor;
use super::objects::{body_problem, disagreement};
use super::{Around, Checker, Found, Problem, ProblemKind, keys};
use crate::schema::body::Context;
use crate::schema::garbage::Candidate;
use crate::schema::manifest::{self, Manifest};
use crate::schema::part::{self, Part};
use crate::schema::pulse::{self, Pulse};
use crate::schema::reference::{Owner, Reference, Target};
use crate::schema::upload::{self, Upload};
use crate::schema::{Home, Record as _, blob};

impl<'a> Checker<'a> {
    pub(super) async fn upload(
        &mut self,
        entry: &Entry,
        here: &mut Around<'a>,
    ) -> Result<(), KvError> {
        self.counts.uploads += 1;
        let parsed = upload::parse_key(entry.key.as_bytes());
        let Some((bucket, key, id)) = parsed.filter(|(b, _, _)| Home::of(*b).token() == here.token)
        else {
            self.key_problem(entry);
            return Ok(());
        };
        let subject = self.subject(bucket, &key);
        self.bucket_state(bucket);
        if Upload::decode(&entry.value).is_err() {
            self.undecodable("upload", Some(subject.clone()), entry);
        }
        here.uploads.insert(id, subject.clone());
        let manifest = self.get::<Manifest>(&keys::manifest(here.token, id)).await?;
        if !matches!(manifest, Found::Absent) {
            let message = format!("Upload {id} is in progress and has a manifest, as if complete.");
            self.problem(ProblemKind::UploadStray, Some(subject), message);
        }
        Ok(())
    }

    pub(super) fn pulse(&mut self, entry: &Entry, here: &Around<'a>) {
        let Some(id) = pulse::parse_key(entry.key.as_bytes()) else {
            return self.key_problem(entry);
        };
        if Pulse::decode(&entry.value).is_err() {
            self.undecodable("pulse", here.uploads.get(&id).cloned(), entry);
        }
        if !here.uploads.contains_key(&id) {
            let message = format!("There is a pulse of upload {id}, which is not in progress.");
            self.problem(ProblemKind::UploadStray, None, message);
        }
    }

    pub(super) async fn part(
        &mut self,
        entry: &Entry,
        here: &mut Around<'a>,
    ) -> Result<(), KvError> {
        self.counts.parts += 1;
        let Some((upload, number)) = part::parse_key(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        if !self.is_known(upload, number, here).await? {
            let message = format!("Part {number} of {upload} is of no upload and no object.");
            self.problem(ProblemKind::NotFiled, None, message);
        }
        let Ok(record) = Part::decode(&entry.value) else {
            self.undecodable("part", here.uploads.get(&upload).cloned(), entry);
            return Ok(());
        };
        match &record.blob {
            Some(hint) => {
                let owner = Owner::Part(upload, number);
                let key = keys::reference(here.token, Target::Blob(hint.id), owner);
                let reference = self.get::<Reference>(&key).await?;
                let found = self.get::<blob::Blob>(&keys::blob(here.token, hint.id)).await?;
                let mut wrong: Vec<_> = disagreement(found, hint, record.len).into_iter().collect();
                if let Found::Absent = reference {
                    let message =
                        format!("There is no reference to blob {} of part {number}.", hint.id);
                    wrong.push((ProblemKind::ReferenceMissing, message));
                }
                for (kind, message) in wrong {
                    let owners = self.part_owners(upload, number, here).await?;
                    let subject = owners.into_iter().next().map(|owner| owner.subject);
                    self.problem(kind, subject, message);
                }
            }
            None if record.len > 0 => {
                let key = keys::part_body(here.token, upload, number);
                let found = self.reader.get(&key).await?.map(|found| found.value);
                let context = Context::Part(upload, number);
                if let Some(message) = body_problem(found, context, record.len) {
                    let owners = self.part_owners(upload, number, here).await?;
                    let model = Problem::new(ProblemKind::ObjectLost, message);
                    self.tell_lost(&owners, std::slice::from_ref(&(0..record.len)), &model);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Whether a part has an upload, a manifest or a garbage record that accounts for it.
    async fn is_known(
        &self,
        upload: UploadId,
        number: u16,
        here: &mut Around<'a>,
    ) -> Result<bool, KvError> {
        let filed = |candidate| here.garbage.contains(&candidate);
        if here.uploads.contains_key(&upload) || filed(Candidate::PartSet(upload)) {
            return Ok(true);
        }
        if here.manifest.as_ref().is_none_or(|(id, _)| *id != upload) {
            let found = self.get(&keys::manifest(here.token, upload)).await?;
            let found = if let Found::Good(manifest) = found { Some(manifest) } else { None };
            here.manifest = Some((upload, found));
        }
        let manifest = here.manifest.as_ref().and_then(|(_, manifest)| manifest.as_ref());
        Ok(manifest.is_some_and(|manifest| {
            manifest.contains(number) || here.garbage.contains(&Candidate::Remainder(upload))
        }))
    }

    pub(super) async fn part_body(
        &mut self,
        entry: &Entry,
        here: &Around<'a>,
    ) -> Result<(), KvError> {
        let Some((upload, number)) = keys::part_of_body(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        let is_used = match self.get(&keys::part(here.token, upload, number)).await? {
            Found::Absent => false,
            Found::Bad => true,
            Found::Good(Part { blob, len, .. }) => blob.is_none() && len > 0,
        };
        if !is_used {
            let message =
                format!("Bytes are stored for part {number} of {upload}, which does not use them.");
            self.problem(ProblemKind::BodyStray, here.uploads.get(&upload).cloned(), message);
        }
        Ok(())
    }

    pub(super) async fn manifest(
        &mut self,
        entry: &Entry,
        here: &mut Around<'a>,
    ) -> Result<(), KvError> {
        self.counts.manifests += 1;
        let Some(upload) = manifest::parse_key(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        let target = Target::PartSet(upload);
        let is_used = here.is_referenced(target).await?;
        if !is_used && !here.garbage.contains(&Candidate::PartSet(upload)) {
            let message =
                format!("Nothing uses part set {upload}, and it is not filed as garbage.");
            self.problem(ProblemKind::NotFiled, None, message);
        }
        let Ok(record) = Manifest::decode(&entry.value) else {
            let owner = self.owners(target, here).await?.into_iter().next();
            self.undecodable("manifest", owner.map(|owner| owner.subject), entry);
            return Ok(());
        };
        let lens = self.part_lens(upload, &record, here).await?;
        let missing: Vec<u16> = record
            .runs
            .iter()
            .flat_map(|&(first, last)| first..=last)
            .filter(|number| lens.binary_search_by_key(number, |(n, _)| *n).is_err())
            .collect();
        match missing.first() {
            Some(&first) if is_used => {
                let before = lens.iter().take_while(|(number, _)| *number < first);
                let from = before.map(|(_, len)| len).sum::<u64>();
                let known = lens.iter().map(|(_, len)| len).sum::<u64>();
                let len = record.len.saturating_sub(known);
                let to = if missing.len() == 1 { from + len } else { record.len };
                let message = format!(
                    "Part {first} of it has no record that can be read; {} parts in all.",
                    missing.len()
                );
                let model = Problem::new(ProblemKind::ObjectLost, message);
                let owners = self.owners(target, here).await?;
                self.tell_lost(&owners, std::slice::from_ref(&(from..to)), &model);
            }
            Some(_) => {}
            None if Manifest::of(lens, record.completed) != record => {
                let message = "The manifest of its parts is not what they add up to.";
                let owner = self.owners(target, here).await?.into_iter().next();
                self.problem(ProblemKind::Manifest, owner.map(|owner| owner.subject), message);
            }
            None => {}
        }
        Ok(())
    }

    /// Numbers and lengths of those parts of an upload that are in its manifest, ascending.
    async fn part_lens(
        &self,
        upload: UploadId,
        manifest: &Manifest,
        here: &Around<'a>,
    ) -> Result<Vec<(u16, u64)>, KvError> {
        let mut lens = Vec::new();
        let range = keys::parts(here.token, upload);
        let mut parts = Cursor::new(self.reader, range);
        while let Some(entry) = parts.next().await? {
            let number = part::parse_key(entry.key.as_bytes()).map(|(_, number)| number);
            let len = Part::decode(&entry.value).map(|part| part.len);
            if let (Some(number), Ok(len)) = (number, len)
                && manifest.contains(number)
            {
                lens.push((number, len));
            }
        }
        Ok(lens)
    }
}
