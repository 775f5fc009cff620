//! The user as whom a module runs, and the password for that.

use std::fmt;

/// Another user as whom a module runs, through sudo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Become {
    /// The name of the user.
    pub(crate) user: String,
    /// The password that sudo asks for, if it does.
    pub(crate) password: Option<Secret>,
    /// The program, if it is not the `sudo` of `PATH`.
    pub(crate) program: Option<String>,
    /// The flags of the program, without those that control how it asks for a password.
    pub(crate) flags: Vec<String>,
}

impl Become {
    /// Makes a user with the flags that Ansible uses for sudo.
    pub(crate) fn new(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: None,
            program: None,
            flags: vec!["-H".to_owned()],
        }
    }

    /// Returns the flags without those by which sudo takes no password, or takes it from stdin: the connection sets
    /// these.
    pub(crate) fn own_flags(&self) -> impl Iterator<Item = &str> {
        const ASKING: [&str; 4] = ["-n", "-S", "--non-interactive", "--stdin"];
        let flags = self.flags.iter().map(String::as_str);
        flags.filter(|flag| !ASKING.contains(flag))
    }
}

/// A password. It is never printed, not even in debug output.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the password itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
