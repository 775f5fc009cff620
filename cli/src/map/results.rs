//! The folder of `--results`: the output of each command in files of its own, with the folder names of GNU parallel.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::item::Item;
use super::outputs::CommandRecord;
use crate::error::CliError;
use crate::output::{Destination, OutputError};
use crate::spool::Spool;

/// The most bytes of a file name.
const NAME_BYTES: usize = 255;

/// What stands between the parts of a name that is too long: a slash, and the prefix of nested folders.
const INNER: &[u8] = b"/+-";

/// The folder of results: `DIR/1/ITEM/stdout`, `stderr` and `seq`. A second column adds `/2/COLUMN`.
#[derive(Debug, Clone)]
pub(crate) struct ResultsFolder(PathBuf);

impl ResultsFolder {
    /// Creates the folder, unless it exists.
    pub(crate) fn create(path: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(path).map_err(|error| CliError::unwritable(path, error))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes the files of a command. An error names the folder of results, not the file.
    pub(super) fn write(&self, record: &CommandRecord) -> Result<(), OutputError> {
        let destination = || Destination::File(self.0.clone());
        self.write_files(record)
            .map_err(|error| destination().error(error))
    }

    fn write_files(&self, record: &CommandRecord) -> io::Result<()> {
        let folder = self.folder(&record.item);
        fs::create_dir_all(&folder)?;
        let write = |name: &str, spool: &Spool| {
            File::create(folder.join(name)).and_then(|mut file| spool.write_to(&mut file))
        };
        write("stdout", &record.stdout)?;
        write("stderr", &record.stderr)?;
        fs::write(folder.join("seq"), record.number.to_string())
    }

    fn folder(&self, item: &Item) -> PathBuf {
        let mut folder = self.0.clone();
        for (index, column) in item.columns().enumerate() {
            folder.push((index + 1).to_string());
            folder.push(OsString::from_vec(name(column)));
        }
        folder
    }
}

/// Returns the name of the folder for a column. Characters that cannot be part of a name are escaped with a plus.
///
/// A name that is too long is cut into nested folders. Each but the first begins with `+-`, which escaping never
/// produces. So a nested folder never has the name of one of the files, nor the number of the next column.
fn name(column: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(column.len());
    let mut length = 0;
    for byte in column {
        let single = [*byte];
        let written: &[u8] = match byte {
            b'+' => b"++",
            b'/' => b"+z",
            b'\\' => b"+b",
            b'\t' => b"+t",
            0 => b"+0",
            b'.' if name.is_empty() && matches!(column, b"." | b"..") => b"+.",
            _ => &single,
        };
        if length + written.len() > NAME_BYTES {
            name.extend_from_slice(INNER);
            length = INNER.len() - 1;
        }
        name.extend_from_slice(written);
        length += written.len();
    }
    if name.is_empty() {
        name.extend_from_slice(b"+e");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_a_folder_of_its_own() {
        let named = |column: &[u8]| String::from_utf8(name(column)).unwrap();
        for (column, expected) in [
            (&b"a.png"[..], "a.png"),
            (b"x/y+z\\\t\0", "x+zy++z+b+t+0"),
            (b"", "+e"),
            (b".", "+."),
            (b"..", "+.."),
            (b"../../etc", "..+z..+zetc"),
        ] {
            assert_eq!(named(column), expected);
        }
        let longest = "x".repeat(NAME_BYTES);
        let inner = named(format!("{longest}stdout").as_bytes());
        assert_eq!(inner, format!("{longest}/+-stdout"));
        let long = named(&[b'x'; 600]);
        assert!(
            long.split('/').all(|part| part.len() <= NAME_BYTES),
            "{long}"
        );
    }

    #[test]
    fn writes_both_outputs_and_the_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut record =
            CommandRecord::without_output(7, Item::from_columns([b"a/b".as_slice(), b"\xff"]));
        record.stdout.push(b"out");
        record.stderr.push(b"err");
        let results = ResultsFolder::create(&folder.path().join("r")).unwrap();
        results.write(&record).unwrap();
        let item = folder
            .path()
            .join("r/1/a+zb/2")
            .join(OsString::from_vec(vec![0xff]));
        for (name, text) in [("stdout", "out"), ("stderr", "err"), ("seq", "7")] {
            assert_eq!(fs::read_to_string(item.join(name)).unwrap(), text);
        }
    }
}
