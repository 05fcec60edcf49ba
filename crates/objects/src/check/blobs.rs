//! Blobs against the copies on the drives, references, garbage and repair tasks.

use std::borrow::Cow;
use std::collections::BTreeSet;

use erasure::BlobShape;
use kv::{Entry, KvError};
use net::{ShardHeader, ShardId};
use types::DriveId;

use super::copies::Look;
use super::margin::{self, Use};
use super::{Around, Checker, Found, Problem, ProblemKind, keys};
use crate::ledger::target_of;
use crate::schema::blob::{self, Blob};
use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::object::Object;
use crate::schema::part::Part;
use crate::schema::reference::{self, Owner, Reference, Target};
use crate::schema::repair::{self, Repair};
use crate::schema::{BlobLocation, CopyPlace, Home, Record as _};

/// What the drives say of a blob.
struct Survey {
    /// By index.
    shards: Vec<Use>,
    /// As `shards`, if all drives that are away were there with all their copies.
    with_away: Vec<Use>,
    away: BTreeSet<DriveId>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) async fn blob(
        &mut self,
        entry: &Entry,
        here: &mut Around<'a>,
    ) -> Result<(), KvError> {
        self.counts.blobs += 1;
        let Some(id) = blob::parse_key(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        let target = Target::Blob(id);
        let is_used = here.is_referenced(target).await?;
        if !is_used && !here.garbage.contains(&Candidate::Blob(id)) {
            let message = format!("Nothing uses blob {id}, and it is not filed as garbage.");
            self.problem(ProblemKind::NotFiled, None, message);
        }
        match Blob::decode(&entry.value) {
            Ok(record) if record.location.id == id => {
                self.copies_of(&record.location, is_used, here).await
            }
            Ok(_) | Err(_) => {
                let owners = self.owners(target, here).await?;
                let subject = owners.into_iter().next().map(|owner| owner.subject);
                self.undecodable("blob", subject, entry);
                Ok(())
            }
        }
    }

    /// Compares a blob's record with the drives.
    async fn copies_of(
        &mut self,
        blob: &BlobLocation,
        is_used: bool,
        here: &Around<'a>,
    ) -> Result<(), KvError> {
        let Some(survey) = self.survey(blob, here) else { return Ok(()) };
        // What nothing uses is being collected, copy by copy perhaps.
        if !is_used {
            return Ok(());
        }
        for drive in &survey.away {
            *self.away.entry(*drive).or_default() += 1;
        }
        let shape = BlobShape { geometry: blob.geometry, len: blob.len };
        let margin = margin::margin(shape, &survey.shards);
        let all = blob.geometry.parity() as i64;
        self.counts.degraded_blobs += u64::from(margin < all);
        if survey.problems.is_empty() && margin >= 0 {
            return Ok(());
        }
        let owners = self.owners(Target::Blob(blob.id), here).await?;
        let subject = owners.first().map(|owner| owner.subject.clone());
        let left = match margin {
            ..0 => "Bytes of it cannot be read".to_owned(),
            0 => "It can be read; the loss of one more shard loses bytes".to_owned(),
            1 => "It can be read, even with one more shard lost".to_owned(),
            more => format!("It can be read, even with {more} more shards lost"),
        };
        for problem in survey.problems {
            let message = format!("{} {left}.", problem.message);
            let remedy = match margin {
                ..0 => Cow::Borrowed("Too few other copies are whole to make it again."),
                _ => problem.remedy.clone(),
            };
            let (object, margin) = (subject.clone(), Some(margin));
            (self.report)(Problem { object, margin, message, remedy, ..problem });
        }
        if margin < 0 {
            let lost = margin::lost(shape, &survey.shards);
            let message = format!(
                "Of the {} shards that any byte of blob {} needs, {} too few are whole.",
                shape.geometry.data(),
                blob.id,
                margin.unsigned_abs()
            );
            let mut model = Problem {
                blob: Some(blob.id),
                margin: Some(margin),
                ..Problem::new(ProblemKind::ObjectLost, message)
            };
            if margin::margin(shape, &survey.with_away) >= 0 {
                let drives: Vec<String> = survey.away.iter().map(DriveId::to_string).collect();
                model.remedy = Cow::Owned(format!(
                    "Bring back drive {}: with what was on it, nothing is lost.",
                    drives.join(" or ")
                ));
            }
            self.tell_lost(&owners, &lost, &model);
        }
        Ok(())
    }

    /// Looks for each copy that the record names; `None` when the drives are not looked at.
    fn survey(&mut self, blob: &BlobLocation, here: &Around<'a>) -> Option<Survey> {
        let copies = self.copies.as_deref_mut()?;
        let shape = BlobShape { geometry: blob.geometry, len: blob.len };
        let nothing = vec![Use::Nothing; blob.geometry.total()];
        let mut survey = Survey {
            shards: nothing.clone(),
            with_away: nothing,
            away: BTreeSet::new(),
            problems: Vec::new(),
        };
        for place in &blob.copies {
            let header = ShardHeader {
                id: ShardId { blob: blob.id, index: place.index, copy: place.copy },
                data_shards: blob.geometry.data() as u8,
                parity_shards: blob.geometry.parity() as u8,
                blob_len: blob.len,
                payload_len: shape.shard_len(),
                home: 0,
            };
            let look = copies.look(place.drive, &header, here.token);
            let is_away = matches!(look, Look::Away);
            let (usable, problem) = judge(look, blob, place);
            if is_away {
                survey.away.insert(place.drive);
            }
            survey.problems.extend(problem);
            let index = usize::from(place.index);
            if let (Some(now), Some(then)) =
                (survey.shards.get_mut(index), survey.with_away.get_mut(index))
            {
                let hoped = if is_away { Use::Whole } else { usable.clone() };
                *then = std::mem::replace(then, Use::Nothing).or(hoped);
                *now = std::mem::replace(now, Use::Nothing).or(usable);
            }
        }
        Some(survey)
    }

    pub(super) async fn reference(
        &mut self,
        entry: &Entry,
        here: &Around<'a>,
    ) -> Result<(), KvError> {
        self.counts.references += 1;
        let Some((target, owner)) = reference::parse_key(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        let Ok(record) = Reference::decode(&entry.value) else {
            self.undecodable("reference", None, entry);
            return Ok(());
        };
        let is_true = match owner {
            Owner::Version(version) => {
                let key = keys::object(record.bucket, &record.key);
                let found = match &key {
                    Some(key) => self.get::<Object>(key).await?,
                    None => Found::Absent,
                };
                match found {
                    Found::Absent => false,
                    Found::Bad => true,
                    Found::Good(object) => {
                        let points = target_of(&object.body);
                        let here =
                            |(home, to): (Home, Target)| home.token() == here.token && to == target;
                        object.version == version && points.is_some_and(here)
                    }
                }
            }
            Owner::Part(upload, number) => {
                match self.get::<Part>(&keys::part(here.token, upload, number)).await? {
                    Found::Absent => false,
                    Found::Bad => true,
                    Found::Good(part) => {
                        part.blob.is_some_and(|blob| Target::Blob(blob.id) == target)
                    }
                }
            }
        };
        if !is_true {
            let what = match target {
                Target::Blob(id) => format!("blob {id}"),
                Target::PartSet(id) => format!("part set {id}"),
            };
            let message = format!("A reference says that this uses {what}, and it does not.");
            let subject = self.subject(record.bucket, &record.key);
            self.problem(ProblemKind::ReferenceDangling, Some(subject), message);
        }
        Ok(())
    }

    pub(super) fn garbage(&mut self, entry: &Entry) {
        self.counts.garbage += 1;
        let Some((_, candidate)) = garbage::parse_key(entry.key.as_bytes()) else {
            return self.key_problem(entry);
        };
        let Ok(record) = Garbage::decode(&entry.value) else {
            return self.undecodable("garbage", None, entry);
        };
        if let (Candidate::Copies(blob), Some(copies)) = (candidate, self.copies.as_deref_mut()) {
            for place in record.copies {
                let id = ShardId { blob, index: place.index, copy: place.copy };
                self.counts.garbage_shards += u64::from(copies.name(place.drive, &id));
            }
        }
    }

    pub(super) fn repair(&mut self, entry: &Entry) {
        self.counts.repair_tasks += 1;
        if repair::parse_key(entry.key.as_bytes()).is_none() {
            self.key_problem(entry);
        } else if Repair::decode(&entry.value).is_err() {
            self.undecodable("repair task", None, entry);
        }
    }
}

/// What can be used of a copy, and what is wrong with it. That a drive is away is told once for all its copies.
fn judge(look: Look, blob: &BlobLocation, place: &CopyPlace) -> (Use, Option<Problem>) {
    let CopyPlace { index, drive, copy } = *place;
    let which = format!("shard {index} of blob {}, copy {copy}", blob.id);
    let told = |kind, path: Option<String>, what: String| Problem {
        drive: Some(drive),
        path,
        blob: Some(blob.id),
        ..Problem::new(kind, what)
    };
    match look {
        Look::Whole => (Use::Whole, None),
        Look::Away => (Use::Nothing, None),
        Look::Absent => {
            let what = format!("Drive {drive} does not have {which}.");
            (Use::Nothing, Some(told(ProblemKind::CopyMissing, None, what)))
        }
        Look::Elsewhere(other) => {
            let what = format!("Drive {drive} does not have {which}; drive {other} has it.");
            (Use::Nothing, Some(told(ProblemKind::CopyMoved, None, what)))
        }
        Look::Disagrees => {
            let what = format!("Drive {drive} has {which}, whose header says something else.");
            (Use::Nothing, Some(told(ProblemKind::CopyDisagrees, None, what)))
        }
        Look::Harmed(harm) => {
            let usable = match harm.damaged {
                Some(frames) => Use::Except(frames),
                None => Use::Nothing,
            };
            let what = format!("Drive {drive} has {which}, damaged: {}.", harm.what);
            let path = Some(harm.path);
            (usable, Some(told(ProblemKind::CopyDamaged, path, what)))
        }
    }
}

impl Around<'_> {
    /// Whether anything uses this. To be asked of targets in ascending order.
    pub(super) async fn is_referenced(&mut self, target: Target) -> Result<bool, KvError> {
        let [blobs, sets] = &mut self.references;
        let cursor = if let Target::Blob(_) = target { blobs } else { sets };
        while let Some(entry) = cursor.peek().await? {
            match reference::parse_key(entry.key.as_bytes()) {
                Some((found, _)) if found == target => return Ok(true),
                Some((found, _)) if found > target => return Ok(false),
                _ => {
                    cursor.next().await?;
                }
            }
        }
        Ok(false)
    }
}
