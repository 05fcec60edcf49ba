//! A folder that a test has to itself, on a real disk, gone when the test is.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::accounts::OTHER;
use crate::binary::profile_dir;

/// A folder that is removed when this is dropped. The server's data is in `data/` inside it.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// An empty one, under `target/tmp` (not `/tmp`, which is memory on many machines).
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let parent =
            profile_dir().parent().map(|target| target.join("tmp")).expect("target/PROFILE");
        std::fs::create_dir_all(&parent).expect("target/tmp can be made");
        let folder = tempfile::Builder::new().prefix("uc-").tempdir_in(&parent);
        Self { folder: folder.expect("a folder in target/tmp can be made") }
    }

    /// One whose data folder already holds a credentials file with [`OTHER`] in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn with_other_account() -> Self {
        let scratch = Self::new();
        write_accounts(&scratch.data());
        scratch
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The server's `--dir`; the server makes it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Makes a folder inside, and its path.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder in the scratch folder can be made");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes `credentials.json`, private, with [`OTHER`]'s key.
fn write_accounts(data: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(data).expect("the data folder can be made");
    let file = data.join("credentials.json");
    let key = serde_json::json!({
        "account": OTHER.account,
        "access_key_id": OTHER.access_key_id,
        "secret_access_key": OTHER.secret_access_key,
    });
    let text = serde_json::json!({ "v": 1, "keys": [key] }).to_string();
    std::fs::write(&file, text).expect("the credentials file can be written");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("its mode can be set");
}
