//! Access keys: from the environment, from a private file, or made once at random. Never a default.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, bail};
use runtime::{Entropy, disk::Disk};
use serde::{Deserialize, Serialize};
use tenancy::{AccessKey, Credentials, Secret};
use types::{AccessKeyId, AccountId};

/// Names of the environment's pair.
const ID_VARIABLE: &str = "UNDERCROFT_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "UNDERCROFT_SECRET_ACCESS_KEY";

/// Shortest secret that is accepted.
const SECRET_MIN_CHARS: usize = 16;

/// A pair without an account: the root account's.
pub(crate) struct KeyPair {
    /// The public part.
    pub(crate) id: AccessKeyId,
    /// The secret part.
    pub(crate) secret: Secret,
}

/// Where the first key came from, for the banner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrigin {
    /// The environment.
    Environment,
    /// The file, as it was.
    File,
    /// The file, made just now.
    Generated,
}

/// All keys of this process.
pub(crate) struct Keys {
    /// For verifying signatures.
    pub(crate) credentials: Credentials,
    /// The key that the banner tells of.
    pub(crate) first: AccessKey,
    /// Where that is from.
    pub(crate) origin: KeyOrigin,
}

/// The file: `{"v": 1, "keys": [{"account", "access_key_id", "secret_access_key"}]}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    v: u32,
    keys: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    account: AccountId,
    access_key_id: String,
    secret_access_key: String,
}

/// The pair in the environment, if there is one.
///
/// # Errors
/// When only one of the two is set, or one is not usable.
#[allow(clippy::disallowed_methods, reason = "this is the binary's configuration")]
pub(crate) fn environment_pair() -> anyhow::Result<Option<KeyPair>> {
    let read = |name: &str| match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{name} is not text"),
    };
    pair(read(ID_VARIABLE)?, read(SECRET_VARIABLE)?)
}

fn pair(id: Option<String>, secret: Option<String>) -> anyhow::Result<Option<KeyPair>> {
    match (id, secret) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => {
            let id =
                AccessKeyId::new(&id).with_context(|| format!("{ID_VARIABLE} is not usable"))?;
            check_secret(&secret).with_context(|| format!("{SECRET_VARIABLE} is not usable"))?;
            Ok(Some(KeyPair { id, secret: Secret::new(secret) }))
        }
        _ => bail!("set both of {ID_VARIABLE} and {SECRET_VARIABLE}, or neither"),
    }
}

fn check_secret(secret: &str) -> anyhow::Result<()> {
    if secret.chars().count() < SECRET_MIN_CHARS {
        bail!("a secret access key needs at least {SECRET_MIN_CHARS} characters");
    }
    if !secret.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("a secret access key is made of visible ASCII characters");
    }
    Ok(())
}

/// All keys: the environment's pair for the root account and those of the file at `path`. With neither, a
/// random pair is written to `path`, durable before anybody is told of it.
///
/// # Errors
/// When the file is readable by others, cannot be understood, or cannot be written.
pub(crate) fn load(
    path: &Path,
    pair: Option<KeyPair>,
    root: AccountId,
    entropy: &dyn Entropy,
    disk: &dyn Disk,
) -> anyhow::Result<Keys> {
    let from_pair = pair.map(|KeyPair { id, secret }| AccessKey { account: root, id, secret });
    let from_file = read_file(path)?;
    let (origin, keys) = match (from_pair, from_file) {
        (Some(key), file) => {
            // The environment's key stands last, and so wins over a key of the same id in the file.
            let mut keys = file.unwrap_or_default();
            keys.push(key);
            (KeyOrigin::Environment, keys)
        }
        (None, Some(keys)) => (KeyOrigin::File, keys),
        (None, None) => (KeyOrigin::Generated, vec![generate(path, root, entropy, disk)?]),
    };
    let first = if origin == KeyOrigin::Environment { keys.last() } else { keys.first() };
    let first = first.cloned().with_context(|| format!("{} has no keys", path.display()))?;
    Ok(Keys { credentials: Credentials::new(keys), first, origin })
}

#[allow(
    clippy::disallowed_methods,
    reason = "configuration, not data: the disk trait has no permissions"
)]
fn read_file(path: &Path) -> anyhow::Result<Option<Vec<AccessKey>>> {
    let shown = path.display();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    };
    let mode = file.metadata().with_context(|| format!("{shown} cannot be read"))?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "{shown} holds secrets and others on this machine may read it (mode {:03o}). Nothing was \
             started. Run `chmod 600 {shown}`, and change the keys if somebody may have seen them",
            mode & 0o777
        );
    }
    let text = std::io::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let keys = parse(&text).with_context(|| format!("{shown} is not a file of access keys"))?;
    Ok(Some(keys))
}

fn parse(text: &str) -> anyhow::Result<Vec<AccessKey>> {
    let file: KeyFile = serde_json::from_str(text).map_err(without_content)?;
    if file.v != 1 {
        bail!("version {} is not known to this version of the program", file.v);
    }
    let mut ids = std::collections::BTreeSet::new();
    let mut keys = Vec::with_capacity(file.keys.len());
    for (index, entry) in file.keys.into_iter().enumerate() {
        let place = || format!("key number {}", index + 1);
        let id = AccessKeyId::new(&entry.access_key_id).with_context(place)?;
        check_secret(&entry.secret_access_key).with_context(place)?;
        if !ids.insert(id.clone()) {
            bail!("{id} stands there twice");
        }
        let secret = Secret::new(entry.secret_access_key);
        keys.push(AccessKey { account: entry.account, id, secret });
    }
    if keys.is_empty() {
        bail!("it has no keys");
    }
    Ok(keys)
}

/// A parser's message may quote what it stumbled over, which may be a secret: only the place is told.
fn without_content(error: serde_json::Error) -> anyhow::Error {
    let (line, column) = (error.line(), error.column());
    anyhow::anyhow!("it is not the JSON that it should be, near line {line}, column {column}")
}

fn generate(
    path: &Path,
    account: AccountId,
    entropy: &dyn Entropy,
    disk: &dyn Disk,
) -> anyhow::Result<AccessKey> {
    let access_key_id = format!("UC{}", random_text(entropy, UPPER, 18));
    let secret_access_key = random_text(entropy, LETTERS_AND_DIGITS, 40);
    let id = AccessKeyId::new(&access_key_id).context("a made-up key id is not valid")?;
    let secret = Secret::new(secret_access_key.clone());
    let entry = KeyEntry { account, access_key_id, secret_access_key };
    let text = serde_json::to_string_pretty(&KeyFile { v: 1, keys: vec![entry] })?;
    write_private(path, &format!("{text}\n"), disk)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(AccessKey { account, id, secret })
}

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// No punctuation: a secret survives every shell and can be selected with a double click.
const LETTERS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Every letter is equally likely: bytes beyond the last whole multiple of the alphabet are thrown away.
fn random_text(entropy: &dyn Entropy, alphabet: &[u8], len: usize) -> String {
    let whole = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let mut bytes = [0; 64];
        entropy.fill(&mut bytes);
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < whole);
        let letters = fair.filter_map(|byte| alphabet.get(byte % alphabet.len())).copied();
        text.extend(letters.map(char::from).take(len - text.len()));
    }
    text
}

/// Private from its first moment, and whole or absent after a crash.
#[allow(
    clippy::disallowed_methods,
    reason = "configuration, not data: the disk trait has no permissions"
)]
fn write_private(path: &Path, text: &str, disk: &dyn Disk) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.create_dir_all(folder)?;
    let temporary = path.with_extension("json.new");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests prepare files")]

    use std::os::unix::fs::PermissionsExt as _;

    use runtime::{RealEntropy, disk::RealDisk};

    use super::*;

    const SECRET: &str = "a-secret-of-enough-length";

    fn root() -> AccountId {
        AccountId::new(7).expect("small enough")
    }

    fn load_from(path: &Path, pair: Option<KeyPair>) -> anyhow::Result<Keys> {
        load(path, pair, root(), &RealEntropy, &RealDisk)
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_pair_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new/credentials.json");
        let made = load_from(&path, None).expect("made");
        assert_eq!(made.origin, KeyOrigin::Generated);
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let found = load_from(&path, None).expect("found");
        assert_eq!(found.origin, KeyOrigin::File);
        assert_eq!(found.first.id, made.first.id);
        assert_eq!(found.first.secret.expose(), made.first.secret.expose());
        assert_eq!(found.first.account, root());
        assert_eq!((made.first.id.as_str().len(), made.first.secret.expose().len()), (20, 40));
    }

    #[test]
    fn the_environment_adds_to_the_file_and_makes_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("credentials.json");
        let given = || pair(Some("ROOT".to_owned()), Some(SECRET.to_owned())).expect("usable");
        let keys = load_from(&path, given()).expect("no file is needed");
        assert_eq!((keys.origin, path.exists()), (KeyOrigin::Environment, false));
        let entry = |id: &str, account: &str| {
            format!(
                r#"{{"account":"{account}","access_key_id":"{id}","secret_access_key":"{SECRET}"}}"#
            )
        };
        write(&path, &format!(r#"{{"v":1,"keys":[{}]}}"#, entry("OTHER", "000000000042")), 0o600);
        let keys = load_from(&path, given()).expect("both");
        assert_eq!(keys.first.id.as_str(), "ROOT");
        let other = keys.credentials.find("OTHER").expect("the file's key");
        assert_eq!(other.account.to_string(), "000000000042");
        assert_eq!(keys.credentials.accounts().count(), 2);
    }

    #[test]
    fn half_a_pair_and_weak_secrets_are_refused() {
        let text = |s: &str| Some(s.to_owned());
        assert!(pair(text("ROOT"), None).is_err());
        assert!(pair(None, text(SECRET)).is_err());
        assert!(pair(text("ROOT"), text("short")).is_err());
        assert!(pair(text("RO OT"), text(SECRET)).is_err());
        assert!(pair(None, None).expect("neither").is_none());
    }

    #[test]
    fn files_that_are_open_or_wrong_are_refused_without_telling_their_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("credentials.json");
        let key = format!(
            r#"{{"account":"000000000042","access_key_id":"KEY","secret_access_key":"{SECRET}"}}"#
        );
        write(&path, &format!(r#"{{"v":1,"keys":[{key}]}}"#), 0o644);
        let message = format!("{:#}", load_from(&path, None).err().expect("refused"));
        assert!(message.contains("chmod 600"), "{message}");
        for wrong in [
            "".to_owned(),
            format!(r#"{{"v":2,"keys":[{key}]}}"#),
            format!(r#"{{"v":1,"keys":[{key},{key}]}}"#),
            r#"{"v":1,"keys":[]}"#.to_owned(),
            format!(r#"{{"v":1,"keys":["{SECRET}"]}}"#),
            format!(r#"{{"v":1,"keys":[{key}],"more":1}}"#),
        ] {
            write(&path, &wrong, 0o600);
            let message = format!("{:#}", load_from(&path, None).err().expect("refused"));
            assert!(!message.contains(SECRET), "{message}");
        }
    }
}
