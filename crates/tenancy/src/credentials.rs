//! Access keys and who holds them.

use std::collections::HashMap;
use std::fmt;

use types::{AccessKeyId, AccountId};
use zeroize::Zeroizing;

/// Who makes a request, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account that everything is done for.
    pub account: AccountId,
    /// The key that signed.
    pub access_key: AccessKeyId,
}

/// A secret access key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for computing signatures only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One access key of one account.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The account it acts for.
    pub account: AccountId,
    /// Its public part.
    pub id: AccessKeyId,
    /// Its secret part.
    pub secret: Secret,
}

/// The access keys that this process knows. They come from its configuration (a private file or the
/// environment): until secrets can be sealed, none is ever written to the metadata store.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    keys: HashMap<AccessKeyId, AccessKey>,
}

impl Credentials {
    /// From a list; the later of two keys with one id wins.
    pub fn new(keys: impl IntoIterator<Item = AccessKey>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.id.clone(), key)).collect() }
    }

    /// The key of this id.
    pub fn find(&self, id: &str) -> Option<&AccessKey> {
        self.keys.get(&AccessKeyId::new(id).ok()?)
    }

    /// The accounts that have a key.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        let accounts: std::collections::BTreeSet<_> =
            self.keys.values().map(|k| k.account).collect();
        accounts.into_iter()
    }
}
