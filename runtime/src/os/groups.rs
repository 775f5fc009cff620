//! The list of all process groups that this process has started and that may have members. The groups are stopped while
//! this process itself is stopped.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::suspension::pause_clock;

/// How long a suspension waits for starts that have begun. A start takes milliseconds, unless its program is on a file
/// system that does not answer, and a user who has typed Ctrl-Z must not wait for that.
const START_LIMIT: Duration = Duration::from_secs(1);

/// The list of this process. It is global because Ctrl-Z stops everything that the process has started.
static GROUPS: Groups = Groups::new();

/// Stops every process group that this process has started, commands and workers alike, performs an action, and
/// continues them.
///
/// The action is to stop this process, as Ctrl-Z demands: the terminal stops only the group of this process, and the
/// processes that it has started are in groups of their own. Until the action returns, nothing is started and the
/// clocks of jobs do not run: the timeout of a job does not count the time for which it was stopped.
///
/// It blocks the thread for as long as the action does. Processes that have left their group are not stopped.
pub fn suspend_while<T>(action: impl FnOnce() -> T) -> T {
    // Only one suspension exists at a time, and the clock does not run within it: locals are dropped in reverse order.
    let _suspended = GROUPS.suspend();
    let _clock = pause_clock();
    action()
}

/// Marks that a process is being started, so that a suspension waits for it. See [`begin_start`].
#[derive(Debug)]
pub(super) struct Start<'a>(&'a Groups);

/// Marks the start of a process as begun. Call it before a process is started, and keep the result until its
/// [`ProcessGroup`](super::group::ProcessGroup) exists.
///
/// Without it, a process could start while all others are stopped, and keep running. This blocks while they are
/// stopped.
pub(super) fn begin_start() -> Start<'static> {
    GROUPS.begin_start()
}

/// Adds a group to the list. If all others are stopped at the moment, it is stopped as well.
pub(super) fn add(leader: Pid) {
    GROUPS.add(leader);
}

/// Removes a group that is empty. Its number may belong to another group from now on.
pub(super) fn remove(leader: Pid) {
    GROUPS.remove(leader);
}

/// The list of groups, with the state that is needed to stop them all.
#[derive(Debug)]
struct Groups {
    state: Mutex<GroupsState>,
    /// Signalled at the end of the last start, and at the end of a suspension.
    changed: Condvar,
}

/// The living groups, the number of starts in progress, and whether the groups are stopped.
#[derive(Debug)]
struct GroupsState {
    /// The groups that were started and not reaped.
    living: BTreeSet<i32>,
    /// How many starts are in progress. A suspension waits for them.
    starting: usize,
    /// Whether all groups are stopped, so that nothing may be started.
    is_suspended: bool,
}

/// Keeps all groups stopped until it is dropped.
#[derive(Debug)]
struct Suspended<'a>(&'a Groups);

impl Groups {
    const fn new() -> Self {
        Self {
            state: Mutex::new(GroupsState {
                living: BTreeSet::new(),
                starting: 0,
                is_suspended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn begin_start(&self) -> Start<'_> {
        let mut state = self.unless_suspended();
        state.starting += 1;
        Start(self)
    }

    fn add(&self, leader: Pid) {
        let mut state = self.state();
        state.living.insert(leader.as_raw_nonzero().get());
        if state.is_suspended {
            signal(leader, Signal::STOP);
        }
    }

    fn remove(&self, leader: Pid) {
        self.state().living.remove(&leader.as_raw_nonzero().get());
    }

    /// Stops all groups, once the starts that have begun are done.
    fn suspend(&self) -> Suspended<'_> {
        let mut state = self.unless_suspended();
        // The flag is set before the wait for the starts, so that no further ones begin.
        state.is_suspended = true;
        let waited = self
            .changed
            .wait_timeout_while(state, START_LIMIT, |state| state.starting > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.signal(Signal::STOP);
        drop(state);
        Suspended(self)
    }

    /// Waits until there is no suspension.
    fn unless_suspended(&self) -> MutexGuard<'_, GroupsState> {
        self.changed
            .wait_while(self.state(), |state| state.is_suspended)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state. Poisoning is ignored, because no change under the lock can panic half way.
    fn state(&self) -> MutexGuard<'_, GroupsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupsState {
    /// Sends a signal to all groups. It is called under the lock, since a group is removed before its number can belong
    /// to another.
    fn signal(&self, to_all: Signal) {
        for leader in self
            .living
            .iter()
            .filter_map(|leader| Pid::from_raw(*leader))
        {
            signal(leader, to_all);
        }
    }
}

fn signal(leader: Pid, signal: Signal) {
    // An error means that no process is left in the group, or that all have changed their user and cannot be stopped.
    let _ = kill_process_group(leader, signal);
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_suspended = false;
        state.signal(Signal::CONT);
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.starting -= 1;
        let was_last = state.starting == 0;
        drop(state);
        if was_last {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::mpsc;
    use std::thread;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0).spawn().unwrap()
    }

    /// Waits for the next change of a child's state, and returns whether the child was stopped or continued.
    fn change(child: &Child) -> &'static str {
        let options = WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        let (_, status) = waitpid(Some(Pid::from_child(child)), options)
            .unwrap()
            .unwrap();
        match (status.stopped(), status.continued()) {
            (true, _) => "stopped",
            (_, true) => "continued",
            _ => "ended",
        }
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn every_group_on_the_list_is_stopped_and_continued() {
        let groups = Groups::new();
        let children = [sleeper(), sleeper()];
        for child in &children {
            groups.add(Pid::from_child(child));
        }
        let suspended = groups.suspend();
        assert_eq!(children.each_ref().map(change), ["stopped"; 2]);
        drop(suspended);
        assert_eq!(children.each_ref().map(change), ["continued"; 2]);
        children.into_iter().for_each(end);
    }

    #[test]
    fn a_group_that_comes_during_a_suspension_is_stopped_until_its_end() {
        let groups = Groups::new();
        let suspended = groups.suspend();
        let late = sleeper();
        groups.add(Pid::from_child(&late));
        assert_eq!(change(&late), "stopped");
        drop(suspended);
        assert_eq!(change(&late), "continued");
        end(late);
    }

    #[test]
    fn a_start_waits_for_the_end_of_a_suspension_and_a_suspension_for_that_of_a_start() {
        let groups = Groups::new();
        thread::scope(|scope| {
            let start = groups.begin_start();
            let (tell, told) = mpsc::channel();
            let groups = &groups;
            let suspends = scope.spawn(move || {
                let suspended = groups.suspend();
                tell.send("suspended").unwrap();
                suspended
            });
            while !groups.state().is_suspended {
                thread::yield_now();
            }
            let child = sleeper();
            groups.add(Pid::from_child(&child));
            assert_eq!(change(&child), "stopped");
            drop(start);
            assert_eq!(told.recv().unwrap(), "suspended");
            let suspended = suspends.join().unwrap();
            let starts = scope.spawn(|| drop(groups.begin_start()));
            assert!(!starts.is_finished());
            drop(suspended);
            starts.join().unwrap();
            end(child);
        });
    }
}
