//! The command line of a run, as its record keeps it for `resume`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ratchet_runtime::Payload;
use serde::{Deserialize, Serialize};

/// A command line and the folder it was typed in. Neither has to be UTF-8, and nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The arguments after `ratchet`.
    pub(crate) args: Vec<OsString>,
    /// The folder that the command line was typed in.
    pub(crate) cwd: PathBuf,
}

/// The JSON of an invocation.
#[derive(Serialize, Deserialize)]
struct InvocationJson {
    args: Vec<ArgumentJson>,
    cwd: ArgumentJson,
}

/// A word as text, or as bytes if it is not UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ArgumentJson {
    /// A word that is UTF-8.
    Text(String),
    /// The bytes of a word that is not UTF-8.
    Bytes(Vec<u8>),
}

impl From<&OsStr> for ArgumentJson {
    fn from(word: &OsStr) -> Self {
        match word.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(word.as_bytes().to_vec()),
        }
    }
}

impl From<ArgumentJson> for OsString {
    fn from(word: ArgumentJson) -> Self {
        match word {
            ArgumentJson::Text(text) => text.into(),
            ArgumentJson::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

impl Invocation {
    /// Turns the invocation into the JSON that a journal stores.
    #[expect(
        clippy::expect_used,
        reason = "texts and lists of numbers have a JSON form"
    )]
    pub(crate) fn to_payload(&self) -> Payload {
        let wire = InvocationJson {
            args: self.args.iter().map(|arg| arg.as_os_str().into()).collect(),
            cwd: self.cwd.as_os_str().into(),
        };
        Payload::from_value(&wire).expect("a command line can be written as JSON")
    }

    /// Reads a command line. Returns nothing if the record was not written by this command.
    pub(crate) fn read(payload: &Payload) -> Option<Self> {
        let wire: InvocationJson = serde_json::from_str(payload.as_str()).ok()?;
        Some(Self {
            args: wire.args.into_iter().map(OsString::from).collect(),
            cwd: OsString::from(wire.cwd).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_back_as_it_was_typed() {
        let invocation = Invocation {
            args: vec![
                "run".into(),
                "a \"b\".yaml".into(),
                OsString::from_vec(b"\xff\xfe".to_vec()),
            ],
            cwd: OsString::from_vec(b"/srv/\xff".to_vec()).into(),
        };
        let payload = invocation.to_payload();
        assert_eq!(Invocation::read(&payload), Some(invocation));
        assert_eq!(Invocation::read(&Payload::null()), None);
    }

    #[test]
    fn plain_words_are_plain_in_the_record() {
        let invocation = Invocation {
            args: vec!["run".into(), "jobs.yaml".into()],
            cwd: "/srv".into(),
        };
        let payload = invocation.to_payload();
        assert_eq!(
            payload.as_str(),
            r#"{"args":["run","jobs.yaml"],"cwd":"/srv"}"#
        );
    }
}
