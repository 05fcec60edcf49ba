//! The two accounts that every test server knows. Their secrets protect nothing.

/// An account's access key.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Twelve digits; empty for the root pair, whose account the server chooses.
    pub account: &'static str,
    /// Public part.
    pub access_key_id: &'static str,
    /// Secret part.
    pub secret_access_key: &'static str,
}

/// The pair that is given to the server in its environment.
pub const ROOT: Account = Account {
    account: "",
    access_key_id: "CONFORMANCEROOT",
    secret_access_key: "not-a-secret-root-key-of-the-test-servers",
};

/// Another account's pair, from the credentials file.
pub const OTHER: Account = Account {
    account: "424242424242",
    access_key_id: "CONFORMANCEOTHER",
    secret_access_key: "not-a-secret-other-key-of-the-test-servers",
};
