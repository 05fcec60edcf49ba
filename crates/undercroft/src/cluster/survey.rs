//! Looks at the directories that may be drives, and changes nothing.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use placement::Layout;
use runtime::disk::Disk;
use shards::{Identity, Store};

use super::cannot;
use crate::config::{META_INSIDE, Mode};

/// A place where a drive is or may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it is now.
    pub(super) path: PathBuf,
    /// How the layout remembers the place: the folder's name with `dev`, so that the whole directory can be
    /// moved; the absolute path with `serve`.
    pub(super) hint: String,
}

/// What is at a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A drive.
    Drive(Identity),
    /// No directory, or one with nothing of anybody's in it.
    Empty,
    /// A directory with something else in it: this entry, for one.
    Other(String),
    /// It cannot be looked into.
    Unreadable(String),
}

/// A slot and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where.
    pub(super) slot: Slot,
    /// What.
    pub(super) found: Found,
}

impl Seen {
    /// The drive's identity, if it is one.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.found {
            Found::Drive(identity) => Some(identity),
            _ => None,
        }
    }
}

/// Nodes of a new `dev` cluster.
const DEV_NODES: u16 = 5;
/// What may be in a directory that counts as empty: a file system's own, ours beside a drive, and what a
/// crash leaves behind in the middle of making a drive.
const HARMLESS: [&str; 4] = ["lost+found", META_INSIDE, "credentials.json", "drive.json.tmp"];

/// Where drives are or may be, in a stable order.
///
/// # Errors
/// When the directory of `dev` cannot be listed.
pub(super) fn slots(
    disk: &dyn Disk,
    mode: &Mode,
    layout: Option<&Layout>,
) -> anyhow::Result<Vec<Slot>> {
    match mode {
        Mode::Serve { data, .. } => {
            let slot =
                |path: &PathBuf| Slot { path: path.clone(), hint: path.display().to_string() };
            Ok(data.iter().map(slot).collect())
        }
        Mode::Dev { dir, nodes } => {
            let known = layout.map_or(0, |layout| layout.drives.len());
            let wanted = nodes.unwrap_or(if known == 0 { DEV_NODES } else { 0 });
            let mut numbers: BTreeMap<u32, ()> = (1..=u32::from(wanted)).map(|n| (n, ())).collect();
            let hints = layout
                .iter()
                .flat_map(|layout| &layout.drives)
                .map(|drive| drive.path_hint.clone());
            let folders = list(disk, dir).with_context(|| cannot("list", dir))?;
            numbers.extend(
                hints.chain(folders).filter_map(|name| node_number(&name)).map(|n| (n, ())),
            );
            let name = |number| format!("node-{number}");
            Ok(numbers
                .into_keys()
                .map(|n| Slot { path: dir.join(name(n)), hint: name(n) })
                .collect())
        }
    }
}

fn node_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("node-")?.parse::<u32>().ok()?;
    // One spelling only: `node-03` is somebody else's folder.
    (format!("node-{number}") == name).then_some(number)
}

/// Looks at each slot; what cannot be read is [`Found::Unreadable`].
pub(super) fn look(disk: &Arc<dyn Disk>, slots: Vec<Slot>) -> Vec<Seen> {
    slots.into_iter().map(|slot| Seen { found: look_at(disk, &slot.path), slot }).collect()
}

/// What is in the directory at `path`.
pub(crate) fn look_at(disk: &Arc<dyn Disk>, path: &Path) -> Found {
    match Store::identity(disk.clone(), path) {
        Ok(Some(identity)) => Found::Drive(identity),
        Ok(None) => match list(&**disk, path) {
            Ok(names) => match names.into_iter().find(|name| !HARMLESS.contains(&name.as_str())) {
                Some(name) => Found::Other(name),
                None => Found::Empty,
            },
            Err(error) => Found::Unreadable(error.to_string()),
        },
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

/// Names in a directory; none when it is not there.
fn list(disk: &dyn Disk, path: &Path) -> std::io::Result<Vec<String>> {
    match disk.list(path) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether there is anything in the directory at `path`.
///
/// # Errors
/// When that cannot be found out.
pub(super) fn has_content(disk: &dyn Disk, path: &Path) -> anyhow::Result<bool> {
    let names = list(disk, path).with_context(|| cannot("list", path))?;
    Ok(!names.is_empty())
}
