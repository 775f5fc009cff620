//! Reads the files that are pulled out of a work folder.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;

use super::frames::Frame;
use super::pieces::{PIECE, PieceSender};
use super::wire::{
    ContentDigest, MODE_BITS, Problem, PullRequest, PulledEntry, PulledKind, PulledPath, relative,
};
use crate::remote::message::WireText;

/// Why nothing more is sent.
enum Stop {
    /// Something cannot be read.
    Problem(Problem),
    /// The receiver is gone.
    Unwanted,
}

/// Sends all paths of a request as frames. If that fails, the last frame holds the reason.
pub(super) fn read_back(folder: &Path, request: PullRequest, pieces: &PieceSender) {
    let mut sending = Sending { pieces };
    let mut paths = request.paths.into_iter().enumerate();
    let sent = paths.try_for_each(|(number, path)| sending.path(folder, number, path));
    let last = match sent {
        Ok(()) => Frame::Done,
        Err(Stop::Problem(problem)) => Frame::Problem(problem),
        Err(Stop::Unwanted) => return,
    };
    // An error means that the receiver is gone.
    let _ = sending.frame(&last);
}

/// Encodes frames and sends them to the dispatcher.
struct Sending<'a> {
    pieces: &'a PieceSender,
}

impl Sending<'_> {
    fn frame(&mut self, frame: &Frame) -> Result<(), Stop> {
        let frame = frame.encode().map_err(|error| {
            Stop::Problem(Problem::Other {
                message: error.to_string(),
            })
        })?;
        self.pieces.blocking_send(frame).map_err(|_| Stop::Unwanted)
    }

    /// Sends one of the requested paths with everything in it.
    fn path(&mut self, folder: &Path, number: usize, path: PulledPath) -> Result<(), Stop> {
        let name = relative(path.name).map_err(|why| other(format!("a path is refused: {why}")))?;
        let top = if name.as_os_str().is_empty() {
            folder.to_path_buf()
        } else {
            folder.join(&name)
        };
        let found = if path.is_folder {
            fs::metadata(&top)
        } else {
            fs::symlink_metadata(&top)
        };
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Stop::Problem(Problem::NotMade { path: number }))
            }
            Err(error) => Err(unreadable(&name, &error)),
            Ok(found) => self.entry(number, &top, Path::new(""), &found),
        }
    }

    /// Sends a file, folder or link with everything in it. `name` is its name beneath the path of this number.
    fn entry(
        &mut self,
        number: usize,
        path: &Path,
        name: &Path,
        found: &Metadata,
    ) -> Result<(), Stop> {
        let failed = |error| unreadable(path, &error);
        let mode = found.permissions().mode() & MODE_BITS;
        let head = |is| {
            Frame::Entry(PulledEntry {
                path: number,
                name: WireText::from(name.as_os_str()),
                is,
            })
        };
        if found.is_dir() {
            self.frame(&head(PulledKind::Folder { mode }))?;
            for entry in fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let found = entry.metadata().map_err(failed)?;
                self.entry(number, &entry.path(), &name.join(entry.file_name()), &found)?;
            }
            return Ok(());
        }
        if found.is_symlink() {
            let target = fs::read_link(path).map_err(failed)?;
            let target = WireText::from(OsStr::new(&target));
            return self.frame(&head(PulledKind::Link { target }));
        }
        if !found.is_file() {
            let path = path.display();
            return Err(other(format!(
                "{path} is neither a file nor a folder nor a link"
            )));
        }
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        self.frame(&head(PulledKind::File { size, mode }))?;
        self.content(&mut file, size, path)
    }

    /// Sends the content of a file in pieces, then its digest. The file must not become shorter in that time.
    fn content(&mut self, file: &mut File, size: u64, path: &Path) -> Result<(), Stop> {
        let mut hash = blake3::Hasher::new();
        let mut sent = 0;
        let mut file = file.take(size);
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece);
            let read = read.map_err(|error| unreadable(path, &error))?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            hash.update(&piece);
            sent += read as u64;
            self.frame(&Frame::Data(Bytes::from(piece)))?;
        }
        if sent < size {
            let path = path.display();
            return Err(other(format!("{path} became shorter while it was pulled")));
        }
        self.frame(&Frame::End(ContentDigest(*hash.finalize().as_bytes())))
    }
}

fn other(message: String) -> Stop {
    Stop::Problem(Problem::Other { message })
}

fn unreadable(path: &Path, error: &io::Error) -> Stop {
    Stop::Problem(Problem::io(
        format!("{} cannot be read", path.display()),
        error,
    ))
}
