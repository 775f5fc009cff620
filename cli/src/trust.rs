//! Decides whose files ratchet uses: settings, recorded runs and cached results.
//!
//! A recorded run says which commands `resume` runs, and a settings file may name the folder with such runs. So
//! whoever can write one of these files can run code as the user. ratchet therefore uses a file or a folder only if
//! it passes this rule, the same for all of them:
//!
//! - It belongs to the user, or to root. Under sudo, the user who called sudo (`SUDO_UID`) counts as the user too.
//! - Nobody but its owner and root may write it. The owner's private group may, because with a umask of 002 every
//!   file is writable by it: the owner's primary group, which is named like the owner and has no other member.
//! - Of a file, the folder that it lies in passes too, because whoever may write the folder may replace the file.
//!   Where the path is a symbolic link, this holds for both ends of the link.
//!
//! The way out: a path at or below a folder that the user trusts passes whoever it belongs to. `RATCHET_TRUST` names
//! such folders, with colons between them, and so does `trust` in the user's own config file.
//!
//! What is not there passes, since nothing is read from it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;

/// The variable that names trusted folders.
pub(crate) const TRUST_VARIABLE: &str = "RATCHET_TRUST";

/// The user id of root, whose files are always trusted.
const ROOT: u32 = 0;
/// The permission bit that lets the group write.
const GROUP_WRITE: u32 = 0o020;
/// The permission bit that lets every user write.
const OTHERS_WRITE: u32 = 0o002;

/// Decides which files and folders may be used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// The users whose files may be used, besides root.
    users: Vec<u32>,
    /// Folders whose contents may be used whoever owns them.
    folders: Vec<PathBuf>,
}

/// A file or folder that may not be used, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not used: {}", path.display(), self.reason())]
pub(crate) struct Untrusted {
    /// The path that was to be used.
    pub(crate) path: PathBuf,
    /// The path that breaks the rule: `path`, its folder, or the target of a link.
    culprit: PathBuf,
    why: UntrustedReason,
}

/// The reason for which a file or folder may not be used.
#[derive(Debug)]
enum UntrustedReason {
    /// The file or folder belongs to another user.
    Owner(u32),
    /// A group may write it.
    GroupWrites(u32),
    /// Everybody may write it.
    AllWrite,
    /// Its owner cannot be found out.
    Unknown(io::Error),
}

impl Trust {
    /// Trusts the user of this process, and the folders of `RATCHET_TRUST` and of the user's own config file.
    pub(crate) fn new(environment: &UserEnvironment, configured: &[PathBuf]) -> Self {
        let variable = |name: &str| environment.variables.get(OsStr::new(name));
        let mut users = vec![rustix::process::geteuid().as_raw()];
        let caller = variable("SUDO_UID").and_then(|uid| uid.to_str()?.parse::<u32>().ok());
        users.extend(caller);
        let typed = variable(TRUST_VARIABLE).map(|folders| std::env::split_paths(folders));
        let folders = typed
            .into_iter()
            .flatten()
            .chain(configured.iter().cloned());
        Self {
            users,
            folders: folders
                .filter(|folder| !folder.as_os_str().is_empty())
                .map(|folder| environment.folder.join(folder))
                .collect(),
        }
    }

    /// Refuses a file that another user may have written.
    pub(crate) fn file(&self, path: &Path) -> Result<(), Untrusted> {
        self.check(path, true)
    }

    /// Refuses a folder into which another user may have put something.
    pub(crate) fn folder(&self, path: &Path) -> Result<(), Untrusted> {
        self.check(path, false)
    }

    fn check(&self, path: &Path, is_file: bool) -> Result<(), Untrusted> {
        let refused = |culprit: &Path, why| Untrusted {
            path: path.to_path_buf(),
            culprit: culprit.to_path_buf(),
            why,
        };
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            // Nothing can be read below a file either. Whoever tries gets an error that tells it.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(());
            }
            Err(error) => return Err(refused(path, UntrustedReason::Unknown(error))),
        };
        // Who tries to make a folder of a file gets an error that tells it, too.
        let is_no_folder = !is_file && fs::metadata(&real).is_ok_and(|known| !known.is_dir());
        if is_no_folder || self.is_exempt(path, &real) {
            return Ok(());
        }
        let mut parts = vec![real.as_path()];
        if is_file {
            parts.extend(real.parent());
            // Whoever may write this folder may replace the link.
            parts.extend(path.parent().map(|folder| match folder.as_os_str() {
                empty if empty.is_empty() => Path::new("."),
                _ => folder,
            }));
        }
        for part in parts {
            let known = fs::metadata(part)
                .map_err(|error| refused(part, UntrustedReason::Unknown(error)))?;
            if let Some(why) = self.objection(&known) {
                let is_itself = part == real && !path.is_symlink();
                return Err(refused(if is_itself { path } else { part }, why));
            }
        }
        Ok(())
    }

    /// Whether a folder may be used only because it is in a folder that the user trusts, whoever owns it.
    pub(crate) fn is_trusted_for_any_owner(&self, folder: &Path) -> bool {
        let real = fs::canonicalize(folder);
        self.is_exempt(folder, real.as_deref().unwrap_or(folder))
    }

    /// Whether a path is in a folder that the user trusts.
    fn is_exempt(&self, path: &Path, real: &Path) -> bool {
        let absolute = std::path::absolute(path).ok();
        self.folders.iter().any(|folder| {
            let is_below = absolute
                .as_ref()
                .is_some_and(|path| path.starts_with(folder));
            is_below || fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder))
        })
    }

    /// Checks the owner and the mode of a file or folder, and returns why they break the rule if they do.
    fn objection(&self, known: &Metadata) -> Option<UntrustedReason> {
        let (owner, group, mode) = (known.uid(), known.gid(), known.mode());
        if owner != ROOT && !self.users.contains(&owner) {
            Some(UntrustedReason::Owner(owner))
        } else if mode & OTHERS_WRITE != 0 {
            Some(UntrustedReason::AllWrite)
        } else if mode & GROUP_WRITE != 0 && !is_private_group(group, owner) {
            Some(UntrustedReason::GroupWrites(group))
        } else {
            None
        }
    }
}

/// Whether a group has no other member than its owner. A group that the system does not know is not private.
fn is_private_group(group: u32, owner: u32) -> bool {
    let user = User::from_uid(Uid::from_raw(owner));
    let group = Group::from_gid(Gid::from_raw(group));
    let (Ok(Some(user)), Ok(Some(group))) = (user, group) else {
        return false;
    };
    let has_others = group.mem.iter().any(|member| *member != user.name);
    user.gid == group.gid && user.name == group.name && !has_others
}

impl From<Untrusted> for CliError {
    fn from(error: Untrusted) -> Self {
        let help = error.help();
        Self::new(exit::USAGE, error).with_help(help)
    }
}

impl Untrusted {
    /// Returns what the user can do about it.
    pub(crate) fn help(&self) -> String {
        if let UntrustedReason::Unknown(_) = self.why {
            // To trust what cannot be read would not make it readable.
            return "give this user access, or choose another folder".to_owned();
        }
        let folder = if self.path.is_dir() {
            &self.path
        } else {
            self.path.parent().unwrap_or(&self.path)
        };
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let owner = rustix::process::geteuid().as_raw();
        let mend = match self.why {
            UntrustedReason::GroupWrites(_) | UntrustedReason::AllWrite
                if is_owned_by(&self.culprit, owner) =>
            {
                format!("run `chmod go-w {}`; or, ", self.culprit.display())
            }
            _ => String::new(),
        };
        format!(
            "{mend}if you trust whoever can write there, set {TRUST_VARIABLE}={}, or `trust` in your own config file",
            folder.display()
        )
    }

    fn reason(&self) -> String {
        let what = if self.culprit == self.path {
            "it".to_owned()
        } else {
            format!("`{}`", self.culprit.display())
        };
        match &self.why {
            UntrustedReason::Owner(uid) => format!("{what} belongs to {}", UserName(*uid)),
            UntrustedReason::GroupWrites(gid) => {
                format!("{what} is writable by {}", GroupName(*gid))
            }
            UntrustedReason::AllWrite => format!("{what} is writable by everybody"),
            UntrustedReason::Unknown(error) => format!("{what} cannot be examined: {error}"),
        }
    }
}

fn is_owned_by(path: &Path, user: u32) -> bool {
    fs::metadata(path).is_ok_and(|known| known.uid() == user)
}

/// Displays a user id with the name of the user, if it has one.
struct UserName(u32);

impl fmt::Display for UserName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match User::from_uid(Uid::from_raw(self.0)) {
            Ok(Some(user)) => write!(out, "user {} ({})", user.name, self.0),
            _ => write!(out, "user {}", self.0),
        }
    }
}

/// Displays a group id with the name of the group, if it has one.
struct GroupName(u32);

impl fmt::Display for GroupName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Group::from_gid(Gid::from_raw(self.0)) {
            Ok(Some(group)) => write!(out, "group {} ({})", group.name, self.0),
            _ => write!(out, "group {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    use super::*;

    /// An id that no user and no group has.
    const NOBODY_KNOWN: u32 = 3_999_999_999;

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        fs::write(folder.path().join("file"), "").unwrap();
        set_mode(&folder.path().join("file"), 0o644);
        folder
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn trust(variables: &[(&str, &str)]) -> Trust {
        let variables = variables.iter();
        let environment = UserEnvironment {
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            folder: "/".into(),
        };
        Trust::new(&environment, &[])
    }

    /// Makes a rule by which a file belongs to somebody else. The files of root are accepted everywhere, so root gives
    /// the file away instead.
    fn stranger(path: &Path) -> Trust {
        if me() == ROOT {
            chown(path, Some(NOBODY_KNOWN), None).unwrap();
            return trust(&[]);
        }
        Trust {
            users: vec![me() + 1],
            folders: Vec::new(),
        }
    }

    #[test]
    fn what_the_user_owns_passes_and_so_does_what_is_not_there() {
        let folder = folder();
        let trust = trust(&[]);
        trust.folder(folder.path()).unwrap();
        trust.file(&folder.path().join("file")).unwrap();
        trust.folder(&folder.path().join("none/at/all")).unwrap();
        trust.file(&folder.path().join("none")).unwrap();
        trust.folder(&folder.path().join("file/below")).unwrap();
        // A file is no folder, whoever may write it.
        trust.folder(Path::new("/dev/null")).unwrap();
        trust.file(Path::new("/etc/passwd")).unwrap();
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_by_name() {
        let folder = folder();
        let file = folder.path().join("file");
        let refused = stranger(&file).file(&file).unwrap_err();
        let owner = fs::metadata(&file).unwrap().uid();
        let said = refused.to_string();
        assert!(
            said.starts_with(&format!(
                "`{}` is not used: it belongs to user ",
                file.display()
            )),
            "{said}"
        );
        assert!(said.contains(&owner.to_string()), "{said}");
        let help = refused.help();
        let way_out = format!("RATCHET_TRUST={}, ", folder.path().display());
        assert!(help.contains(&way_out), "{help}");
    }

    #[test]
    fn what_others_may_write_is_refused_and_so_is_a_file_in_such_a_folder() {
        let folder = folder();
        let file = folder.path().join("file");
        let trust = trust(&[]);
        set_mode(&file, 0o646);
        let said = trust.file(&file).unwrap_err().to_string();
        assert!(said.ends_with("it is writable by everybody"), "{said}");
        set_mode(&file, 0o644);
        set_mode(folder.path(), 0o757);
        let refused = trust.file(&file).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.ends_with(&format!(
                "`{}` is writable by everybody",
                folder.path().display()
            )),
            "{said}"
        );
        assert!(
            refused.help().starts_with("run `chmod go-w "),
            "{}",
            refused.help()
        );
        trust.folder(folder.path()).unwrap_err();
    }

    #[test]
    fn a_link_passes_only_if_both_its_ends_do() {
        let (folder, other) = (folder(), folder());
        let link = folder.path().join("link");
        symlink(other.path().join("file"), &link).unwrap();
        let trust = trust(&[]);
        trust.file(&link).unwrap();
        set_mode(other.path(), 0o777);
        trust.file(&link).unwrap_err();
        set_mode(other.path(), 0o755);
        set_mode(folder.path(), 0o777);
        trust.file(&link).unwrap_err();
    }

    #[test]
    fn nobody_is_asked_to_trust_what_cannot_be_read() {
        let untrusted = Untrusted {
            path: "/closed/state".into(),
            culprit: "/closed/state".into(),
            why: UntrustedReason::Unknown(ErrorKind::PermissionDenied.into()),
        };
        assert_eq!(
            untrusted.help(),
            "give this user access, or choose another folder"
        );
    }

    #[test]
    fn a_group_may_write_if_it_is_the_private_one_of_the_owner() {
        assert!(!is_private_group(NOBODY_KNOWN, me()));
        let Ok(Some(user)) = User::from_uid(Uid::from_raw(me())) else {
            return;
        };
        let Ok(Some(group)) = Group::from_gid(user.gid) else {
            return;
        };
        let is_private = group.name == user.name && group.mem.iter().all(|name| *name == user.name);
        assert_eq!(is_private_group(user.gid.as_raw(), me()), is_private);

        let folder = folder();
        set_mode(folder.path(), 0o775);
        chown(folder.path(), None, Some(user.gid.as_raw())).unwrap();
        assert_eq!(trust(&[]).folder(folder.path()).is_ok(), is_private);
        if me() == ROOT {
            chown(folder.path(), None, Some(NOBODY_KNOWN)).unwrap();
            let said = trust(&[]).folder(folder.path()).unwrap_err().to_string();
            assert!(
                said.ends_with(&format!("it is writable by group {NOBODY_KNOWN}")),
                "{said}"
            );
        }
    }

    #[test]
    fn the_caller_of_sudo_counts_as_the_user() {
        let folder = folder();
        if me() != ROOT {
            // Only root can give a file away.
            return;
        }
        let file = folder.path().join("file");
        chown(&file, Some(NOBODY_KNOWN), None).unwrap();
        let caller = NOBODY_KNOWN.to_string();
        trust(&[("SUDO_UID", &caller)]).file(&file).unwrap();
        trust(&[("SUDO_UID", "12")]).file(&file).unwrap_err();
        trust(&[("SUDO_UID", "root")]).file(&file).unwrap_err();
    }

    #[test]
    fn a_folder_that_is_trusted_passes_with_all_below_it_and_no_other() {
        let folder = folder();
        let file = folder.path().join("file");
        set_mode(&file, 0o666);
        let path = folder.path().display().to_string();
        let passes = |value: &str| trust(&[(TRUST_VARIABLE, value)]).file(&file).is_ok();
        assert!(passes(&path));
        assert!(passes(&format!("/nowhere:{path}/")));
        assert!(!passes(""));
        assert!(!passes("/nowhere"));
        assert!(!passes(&path[..path.len() - 1]));
        let configured = [folder.path().to_path_buf()];
        Trust::new(&UserEnvironment::default(), &configured)
            .file(&file)
            .unwrap();
    }
}
