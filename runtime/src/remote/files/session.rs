//! The folders of an agent on its host.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::lock::FolderLock;
use super::store::{Store, make_private};
use super::tree;
use super::wire::Problem;

/// The highest length of the name of a kept folder.
const LONGEST_LABEL: usize = 64;

/// How many folders of one name may be kept.
const MAX_OF_A_LABEL: u32 = 10_000;

/// How long a kept folder stays after its process has ended.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Returns the cache folder of the user of this process, where programs keep data that they can do without.
pub(super) fn default_cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    let is_usable = |folder: &PathBuf| folder.is_absolute();
    let own = folder("XDG_CACHE_HOME").filter(is_usable);
    own.or_else(|| Some(folder("HOME").filter(is_usable)?.join(".cache")))
}

/// The folders of one agent. Dropping this removes everything in them except the store and the kept folders.
#[derive(Debug)]
pub(super) struct HostFolders {
    /// The contents, which all agents of this user share.
    pub(super) store: Store,
    kept: PathBuf,
    session: PathBuf,
    _lock: FolderLock,
    unfinished: AtomicU64,
}

impl HostFolders {
    /// Makes the folders in a cache folder, and removes those of agents that were killed.
    pub(super) fn open(cache: &Path) -> Result<Self, Problem> {
        let root = cache.join("ratchet");
        let folder = |name: &str| private_folder(root.join(name));
        let (store, work, kept) = (folder("files")?, folder("work")?, folder("kept")?);
        let failed = |error: io::Error| {
            Problem::io(
                format!("no work folder can be made in {}", work.display()),
                &error,
            )
        };
        let (session, lock) = open_session(&work).map_err(failed)?;
        Ok(Self {
            store: Store::new(store),
            kept,
            session,
            _lock: lock,
            unfinished: AtomicU64::new(0),
        })
    }

    /// Returns a path for a content that is being received.
    pub(super) fn unfinished(&self) -> PathBuf {
        // Relaxed: only uniqueness depends on it.
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.session.join(format!("content-{number}"))
    }

    /// Makes the empty work folder of a process, in the folder of kept ones if it is to be kept.
    pub(super) fn make_work_folder(&self, id: u64, keep: Option<&str>) -> io::Result<PathBuf> {
        let make = |folder: &Path| DirBuilder::new().mode(0o700).create(folder);
        let Some(label) = keep else {
            let folder = self.session.join(id.to_string());
            make(&folder)?;
            return Ok(folder);
        };
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
        let label = label.chars().take(LONGEST_LABEL);
        let label: String = label
            .map(|char| if is_plain(char) { char } else { '_' })
            .collect();
        for number in 1..=MAX_OF_A_LABEL {
            // The name begins with a letter, whatever the label is.
            let folder = self.kept.join(format!("job-{label}-{number}"));
            match make(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map(|()| folder),
            }
        }
        Err(io::Error::other("too many folders of this name are kept"))
    }
}

impl HostFolders {
    /// Removes the folders that were kept a week ago and that no agent holds any more.
    pub(super) fn prune_kept(&self, now: SystemTime) -> io::Result<()> {
        for folder in fs::read_dir(&self.kept)? {
            let folder = folder?.path();
            // Another agent may remove it at the same time.
            let Ok(found) = fs::symlink_metadata(&folder) else {
                continue;
            };
            // A time in the future means that the clock was set back since then.
            let age = now.duration_since(found.modified()?).unwrap_or_default();
            if found.is_dir() && age >= KEPT_FOR && FolderLock::take(&folder).is_some() {
                tree::remove(&folder)?;
            }
        }
        Ok(())
    }
}

impl Drop for HostFolders {
    fn drop(&mut self) {
        // If the removal fails now, the next agent removes the folder.
        let _ = tree::remove(&self.session);
    }
}

/// Makes a folder that only its owner can read or change, and refuses an existing one with other rights.
fn private_folder(folder: PathBuf) -> Result<PathBuf, Problem> {
    let failed = |error: io::Error| {
        Problem::io(
            format!("the folder {} cannot be made", folder.display()),
            &error,
        )
    };
    make_private(&folder).map_err(failed)?;
    let found = fs::symlink_metadata(&folder).map_err(failed)?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !is_ours || found.mode() & 0o077 != 0 {
        return Err(Problem::Other {
            message: format!(
                "{} has to be a folder of this user which nobody else can read: `chmod 700` it, or remove it",
                folder.display()
            ),
        });
    }
    Ok(folder)
}

/// Makes the folder of this agent, and removes those of agents that were killed.
fn open_session(work: &Path) -> io::Result<(PathBuf, FolderLock)> {
    for session in fs::read_dir(work)? {
        let session = session?.path();
        if FolderLock::is_left(&session) {
            tree::remove(&session)?;
        }
    }
    let mut number = 0;
    loop {
        let session = work.join(format!("{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&session) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => {
                made?;
                let lock = FolderLock::hold(&session)?;
                return Ok((session, lock));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ratchet_caching::{Clock as _, SystemClock};

    use super::*;

    #[test]
    fn the_folder_of_an_agent_goes_with_it_and_one_that_was_killed_leaves_it_to_the_next() {
        let cache = tempfile::tempdir().unwrap();
        let folders = HostFolders::open(cache.path()).unwrap();
        let work = folders.make_work_folder(7, None).unwrap();
        fs::write(work.join("file"), "").unwrap();
        let killed = cache.path().join("ratchet/work/1-0");
        fs::create_dir_all(killed.join("3")).unwrap();
        drop(FolderLock::hold(&killed).unwrap());

        let next = HostFolders::open(cache.path()).unwrap();
        assert!(work.join("file").exists(), "that agent lives");
        assert!(!killed.exists());
        assert_ne!(next.session, folders.session);
        drop(folders);
        assert!(!work.exists());
        assert!(next.session.exists());
    }

    #[test]
    fn a_kept_folder_has_the_name_of_its_job_made_harmless_and_a_number() {
        let cache = tempfile::tempdir().unwrap();
        let folders = HostFolders::open(cache.path()).unwrap();
        let name = |label| {
            let folder = folders.make_work_folder(1, Some(label)).unwrap();
            let root = cache.path().join("ratchet/kept");
            folder.strip_prefix(root).unwrap().display().to_string()
        };
        assert_eq!(name("b"), "job-b-1");
        assert_eq!(name("b"), "job-b-2");
        assert_eq!(name("../../etc/x\n"), "job-.._.._etc_x_-1");
        drop(folders);
        assert!(cache.path().join("ratchet/kept/job-b-1").exists());
    }

    #[test]
    fn a_kept_folder_stays_for_a_week_after_its_process_has_ended() {
        let cache = tempfile::tempdir().unwrap();
        let folders = HostFolders::open(cache.path()).unwrap();
        let make = |label| folders.make_work_folder(1, Some(label)).unwrap();
        let (running, ended) = (make("running"), make("ended"));
        fs::write(ended.join("file"), "").unwrap();
        let held = FolderLock::hold_itself(&running).unwrap();
        let hours = |hours| SystemClock.now() + Duration::from_hours(hours);
        folders.prune_kept(hours(7 * 24 - 1)).unwrap();
        assert!(ended.exists(), "it is younger than a week");
        folders.prune_kept(hours(7 * 24 + 1)).unwrap();
        assert!(running.exists() && !ended.exists());
        drop(held);
        folders.prune_kept(hours(7 * 24 + 1)).unwrap();
        assert!(!running.exists());
    }

    #[test]
    fn a_folder_that_others_can_read_is_refused_with_the_way_out() {
        let cache = tempfile::tempdir().unwrap();
        drop(HostFolders::open(cache.path()).unwrap());
        let store = cache.path().join("ratchet/files");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = HostFolders::open(cache.path()).map(drop);
        assert!(
            matches!(refused, Err(Problem::Other { message }) if message.contains("chmod 700"))
        );
    }
}
