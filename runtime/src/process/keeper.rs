//! The keeper: a process that outlives this one for a moment, to kill what it leaves.
//!
//! A host that is killed with SIGKILL can do nothing more, and the kernel kills nobody else with it.
//! `PR_SET_PDEATHSIG` reaches the child but not its children, depends on the thread that started it,
//! and rules out the fast way to start processes. So a process that does nothing but wait holds the
//! read end of a pipe. At the end of the pipe, for whatever reason it has come, it reads the list of
//! groups that are left, and kills them.
//!
//! The list is a file without a name that both have open: a line a group, written over when the group
//! is gone. Told through the pipe, the keeper would wake up twice for every process that is started,
//! which costs short commands a quarter of their speed; a file is written in a microsecond and wakes
//! nobody.
//!
//! The keeper is a shell script of two lines, so that a library needs no program of its own beside it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;

use super::system;

/// Its stdin is the pipe, on which nothing is ever said, and its stdout is the list.
const PROGRAM: &str = r#"
while read -r _; do :; done
while read -r group; do
    [ -z "$group" ] || kill -s KILL -- "-$group"
done <&1 2>/dev/null
"#;

/// The length of a line: the longest number a process can have, blanks, and the newline.
const LINE_BYTES: usize = 12;

/// Kills what this process leaves behind, should it be killed itself.
///
/// Cheap to clone; all clones are one keeper. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Mutex<List>>);

/// The list, and who would read it.
#[derive(Debug)]
struct List {
    process: Child,
    /// Held open until the end. Gone once the keeper is.
    pipe: Option<ChildStdin>,
    file: File,
    /// The group on each line; a line that says nothing can be written again.
    lines: Vec<Option<Pid>>,
    free: Vec<usize>,
}

impl Keeper {
    /// Starts a keeper.
    ///
    /// It needs `sh`, which POSIX systems have; where there is none, this is an error, and one may go
    /// on without.
    pub fn start() -> io::Result<Self> {
        let file = system::file_without_a_name()?;
        let mut process = Command::new("sh")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(Stdio::null())
            // What the terminal sends to this process's group is not for the keeper.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take();
        Ok(Self(Arc::new(Mutex::new(List {
            process,
            pipe,
            file,
            lines: Vec::new(),
            free: Vec::new(),
        }))))
    }

    /// Puts the group that a process leads on the list.
    pub(super) fn watch(&self, leader: Pid) {
        self.with(|list| list.add(leader));
    }

    /// Takes a group off the list.
    pub(super) fn release(&self, leader: Pid) {
        self.with(|list| list.remove(leader));
    }

    /// Nothing that runs under this lock can panic half way.
    fn with(&self, action: impl FnOnce(&mut List)) {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl List {
    fn add(&mut self, leader: Pid) {
        let line = self.free.pop().unwrap_or_else(|| {
            self.lines.push(None);
            self.lines.len() - 1
        });
        self.lines[line] = Some(leader);
        self.write(line);
        if self.pipe.is_some() && !matches!(self.process.try_wait(), Ok(None)) {
            self.give_up(&"it has ended");
        }
    }

    fn remove(&mut self, leader: Pid) {
        let Some(line) = self.lines.iter().position(|known| *known == Some(leader)) else {
            return;
        };
        self.lines[line] = None;
        self.free.push(line);
        self.write(line);
    }

    /// Writes a line in one call, so that nobody ever reads half of it.
    fn write(&mut self, line: usize) {
        if self.pipe.is_none() {
            return;
        }
        let text = match self.lines[line] {
            Some(leader) => format!("{:<11}\n", leader.as_raw_nonzero()),
            None => format!("{:<11}\n", ""),
        };
        if let Err(error) = self
            .file
            .write_all_at(text.as_bytes(), (line * LINE_BYTES) as u64)
        {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, reason: &dyn std::fmt::Display) {
        tracing::warn!(%reason, "the keeper is gone: should this process be killed, its workers live on");
        // It must not act on a list that is no longer true.
        let _ = self.process.kill();
        self.pipe = None;
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if self.free.len() == self.lines.len() {
            // Nothing is left to do for it. Killed, it ends even if somebody has stopped it.
            let _ = self.process.kill();
        }
        self.pipe = None;
        // It ends with its pipe, and what it kills first takes no time.
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn listed(keeper: &Keeper) -> String {
        let list = keeper.0.lock().unwrap();
        let mut text = vec![0; list.lines.len() * LINE_BYTES];
        list.file.read_exact_at(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_list_holds_who_lives_and_is_as_long_as_ever_were_at_once() {
        let keeper = Keeper::start().unwrap();
        let groups: Vec<Pid> = [7, 2_147_483_647, 9]
            .into_iter()
            .filter_map(Pid::from_raw)
            .collect();
        keeper.watch(groups[0]);
        keeper.watch(groups[1]);
        assert_eq!(listed(&keeper), "7          \n2147483647 \n");
        keeper.release(groups[0]);
        assert_eq!(listed(&keeper), "           \n2147483647 \n");
        keeper.watch(groups[2]);
        keeper.release(groups[1]);
        assert_eq!(listed(&keeper), "9          \n           \n");
        keeper.release(groups[2]);
        assert_eq!(keeper.0.lock().unwrap().lines.len(), 2);
    }
}
