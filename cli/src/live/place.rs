//! The place of the socket of a run. The socket is in a folder that only its user can open. A file in the folder of the
//! run contains its path.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// The file in the folder of a run that contains the path of the socket.
const NAME_FILE: &str = "socket";

/// The variable that names the folder for files which are needed only while the user is logged in.
const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// The permission bits of everybody except the owner.
const OTHERS: u32 = 0o077;

/// The prefix of the name of a folder that is made for one socket.
const OWN_FOLDER: &str = "ratchet-";

/// The most bytes that the path of a socket may have: `sun_path` of Linux has 108, one of them for the zero at the end.
const LONGEST_PATH: usize = 107;

/// How many entries of the shared folder are checked when a socket is made.
const MAX_SWEPT: usize = 64;

/// A socket that accepts connections. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct BoundSocket {
    path: PathBuf,
    /// The file that contains the path of the socket.
    name_file: PathBuf,
    /// The folder that was made for this socket alone, which is removed with it.
    _own_folder: Option<tempfile::TempDir>,
}

impl BoundSocket {
    /// Makes the socket of a run, and writes its path into the folder of the run.
    pub(super) fn bind(run_folder: &Path, run: &str) -> io::Result<(Self, UnixListener)> {
        let name = format!("{run}-{}.sock", std::process::id());
        remove_left(run_folder);
        let shared = std::env::var_os(RUNTIME_DIR).and_then(|dir| shared_folder(Path::new(&dir)));
        let (folder, own_folder) = match shared {
            Some(folder) if path_fits(&folder.join(&name)) => {
                sweep(&folder);
                (folder, None)
            }
            _ => {
                let own = own_folder(&name)?;
                (own.path().to_path_buf(), Some(own))
            }
        };
        let path = folder.join(name);
        // A killed process of the same run with the same process id may have left a socket of this name.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let socket = Self {
            path,
            name_file: run_folder.join(NAME_FILE),
            _own_folder: own_folder,
        };
        // Between `bind` and this call the socket may have wider permissions. This is harmless, because nobody else can
        // enter its folder.
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
        let mut file = tempfile::NamedTempFile::new_in(run_folder)?;
        file.write_all(socket.path.as_os_str().as_encoded_bytes())?;
        file.persist(&socket.name_file)?;
        Ok((socket, listener))
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        // There is nobody to report an error to, and a socket that stays is recognised as stale.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.name_file);
    }
}

/// Connects to the run that has this folder. Returns nothing if the run has ended, or has no socket.
pub(super) fn connect(run_folder: &Path) -> io::Result<Option<UnixStream>> {
    let named = match fs::read_to_string(run_folder.join(NAME_FILE)) {
        Ok(named) => PathBuf::from(named),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match fs::symlink_metadata(&named) {
        Ok(found) if found.file_type().is_socket() && is_ours(found.uid()) => {}
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("`{}` is not a socket that belongs to you", named.display()),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(&named) {
        Ok(stream) => Ok(Some(stream)),
        // A killed process has left the socket behind.
        Err(error) if is_stale(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether something belongs to the user of this process.
pub(super) fn is_ours(uid: u32) -> bool {
    uid == geteuid().as_raw()
}

fn is_stale(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

fn path_fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST_PATH
}

/// Returns the folder for the sockets of all runs of this user, or nothing if no private one can be made.
fn shared_folder(runtime_dir: &Path) -> Option<PathBuf> {
    let is_private = |path: &Path| {
        let found = fs::symlink_metadata(path).ok()?;
        let is_private = found.is_dir() && is_ours(found.uid()) && found.mode() & OTHERS == 0;
        is_private.then_some(())
    };
    if !runtime_dir.is_absolute() {
        return None;
    }
    is_private(runtime_dir)?;
    let folder = runtime_dir.join("ratchet");
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    is_private(&folder)?;
    Some(folder)
}

/// Makes a folder that only this user can open. If its path is too long for a socket, it is made in `/tmp`.
fn own_folder(name: &str) -> io::Result<tempfile::TempDir> {
    let make = |parent: &Path| {
        let mut builder = tempfile::Builder::new();
        builder.prefix(OWN_FOLDER);
        builder.permissions(fs::Permissions::from_mode(0o700));
        builder.tempdir_in(parent)
    };
    let usual = make(&std::env::temp_dir());
    match usual {
        Ok(folder) if path_fits(&folder.path().join(name)) => Ok(folder),
        _ => make(Path::new("/tmp")),
    }
}

/// Removes the socket of an earlier part of the run, if its process was killed.
fn remove_left(run_folder: &Path) {
    let Ok(named) = fs::read_to_string(run_folder.join(NAME_FILE)) else {
        return;
    };
    let path = Path::new(&named);
    let ours = fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && is_ours(found.uid()));
    if ours && UnixStream::connect(path).is_err_and(|error| is_stale(&error)) {
        let _ = fs::remove_file(path);
        let folder = path.parent().filter(|folder| {
            let name = folder.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(OWN_FOLDER))
        });
        // `remove_dir` removes the folder only if it is empty.
        let _ = folder.map(fs::remove_dir);
    }
}

/// Removes sockets that killed processes have left.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().take(MAX_SWEPT) {
        let path = entry.path();
        let is_socket = path
            .extension()
            .is_some_and(|extension| extension == "sock");
        if is_socket && UnixStream::connect(&path).is_err_and(|error| is_stale(&error)) {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_socket_is_for_its_user_alone_named_in_the_folder_of_its_run_and_gone_with_it() {
        let run = tempfile::tempdir().unwrap();
        let (socket, _listener) = BoundSocket::bind(run.path(), "1abc").unwrap();
        let path = socket.path.clone();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(path_fits(&path));
        assert!(connect(run.path()).unwrap().is_some());
        drop(socket);
        assert!(!path.exists() && !run.path().join(NAME_FILE).exists());
        assert!(connect(run.path()).unwrap().is_none());
    }

    #[test]
    fn what_a_killed_process_has_left_is_stale_and_swept() {
        let run = tempfile::tempdir().unwrap();
        let left = run.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        fs::write(
            run.path().join(NAME_FILE),
            left.as_os_str().as_encoded_bytes(),
        )
        .unwrap();
        assert!(connect(run.path()).unwrap().is_none());
        sweep(run.path());
        assert!(!left.exists());
    }

    #[test]
    fn a_runtime_folder_that_others_can_open_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let allow = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode));
        allow(0o700).unwrap();
        assert!(shared_folder(folder.path()).is_some());
        allow(0o755).unwrap();
        assert_eq!(shared_folder(folder.path()), None);
        assert_eq!(shared_folder(Path::new("relative")), None);
    }

    #[test]
    fn a_name_that_leads_to_no_socket_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let file = run.path().join("file");
        fs::write(&file, "").unwrap();
        fs::write(
            run.path().join(NAME_FILE),
            file.as_os_str().as_encoded_bytes(),
        )
        .unwrap();
        let error = connect(run.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is not a socket that belongs to you"),
            "{error}"
        );
    }
}
