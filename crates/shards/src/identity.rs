//! `drive.json`: who a drive is. Written once, when the drive is first used.

use std::io;
use std::path::{Path, PathBuf};

use runtime::disk::Disk;
use serde::{Deserialize, Serialize};
use types::{DriveId, NodeId};

use crate::OpenError;

/// The version of the drive's layout that this code writes, and the newest that it reads.
pub const DRIVE_VERSION: u32 = 1;

/// Longer is not a drive's identity.
const MAX_BYTES: u64 = 64 * 1024;

/// Who a drive is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the drive's layout: [`DRIVE_VERSION`].
    pub v: u32,
    /// The cluster that it belongs to: a random 128-bit number in hex.
    pub cluster: String,
    /// The drive's own id.
    pub drive: DriveId,
    /// The node that first used it. The layout says which node has it now.
    pub node: NodeId,
    /// When it was first used, in milliseconds since 1970-01-01 UTC.
    pub created_at_ms: u64,
}

/// Where the identity of the drive at `dir` is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("drive.json")
}

/// Reads the identity; `None` when the directory has none (or is not there): it was never formatted.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = path(dir);
    let file = match disk.open(&path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("open", &path, &error)),
    };
    let len = file.len().map_err(|e| OpenError::io("measure", &path, &e))?;
    if len > MAX_BYTES {
        return Err(OpenError::Damaged { path });
    }
    let bytes =
        file.read_vec(len as usize, 0, true).map_err(|e| OpenError::io("read", &path, &e))?;
    decode(&bytes, &path).map(Some)
}

/// The identity in `bytes`, which came from `path`.
pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Identity, OpenError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    // The version first: a newer one may have other fields.
    let damaged = |_| OpenError::Damaged { path: path.to_owned() };
    let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
    if version.v > DRIVE_VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), version: version.v });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// The bytes of `drive.json`.
pub(crate) fn encode(identity: &Identity) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(identity).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Writes the identity of a new drive, atomically and durably; refuses when it has one.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    let path = path(dir);
    if disk.exists(&path).map_err(|error| OpenError::io("look for", &path, &error))? {
        return Err(OpenError::AlreadyFormatted { path });
    }
    replace(disk, dir, identity)
}

/// Writes the identity, atomically and durably, whatever is there.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    let (path, temp) = (path(dir), dir.join("drive.json.tmp"));
    let fail = |call: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| OpenError::io(call, &path, &error)
    };
    match disk.remove(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", &temp, &error));
        }
        _ => {}
    }
    let file = disk.create(&temp).map_err(fail("create", &temp))?;
    file.write_at(&[io::IoSlice::new(&encode(identity))], 0).map_err(fail("write", &temp))?;
    file.sync().map_err(fail("sync", &temp))?;
    disk.rename(&temp, &path).map_err(fail("rename", &temp))?;
    disk.sync_dir(dir).map_err(fail("sync", dir))
}
