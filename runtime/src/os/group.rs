//! A process group: a process that this process has started, and all processes that it has started in turn.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::keeper::Listing;
use super::{groups, platform};
use crate::suspension::working_now;

/// How long a group may take to vanish after it was killed. Only the kernel can delay it.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// The first pause between two checks whether a killed group is empty. The system does not report that. The pause
/// doubles.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// The longest pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The group of a process that this process started.
///
/// While the group has a member, no other process can get its number; so it is signalled only until it is known to be
/// empty, and then never again. Dropping it kills the members that are left.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    /// The process that was started. Its id is that of the group.
    leader: Pid,
    /// The line of the group on the keeper's list; `None` once the group is known to be empty.
    listing: Option<Listing>,
    /// The group is known to be empty, so its number may belong to another group.
    is_known_empty: bool,
}

impl ProcessGroup {
    /// Makes the group of a process that was just started as its leader.
    pub(super) fn led_by(leader: Pid, listing: Option<Listing>) -> Self {
        groups::add(leader);
        Self {
            leader,
            listing,
            is_known_empty: false,
        }
    }

    /// Asks all members to end, by SIGTERM.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        // A stopped process would not handle SIGTERM.
        self.signal(Signal::CONT);
    }

    /// Kills all members. On Linux no fork escapes this; elsewhere one may, and the next round of
    /// [`clear`](Self::clear) finds it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops all members.
    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues all members.
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if !self.is_known_empty {
            // An error means that no member is left, which is the aim of such signals, or that all members have changed
            // their user and are out of reach; `clear` reports those.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    fn is_empty(&self) -> bool {
        test_kill_process_group(self.leader) == Err(rustix::io::Errno::SRCH)
    }

    /// Returns the process that leads the group.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// Returns the process id of the leader, which is also the number of the group.
    pub(super) fn number(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns the group if a member of it lives on after its leader was reaped.
    pub(super) fn unless_empty(mut self) -> Option<Self> {
        if self.is_empty() {
            self.forget();
            return None;
        }
        Some(self)
    }

    /// Kills the members that are left after the leader was reaped, until there are none.
    ///
    /// Returns whether there were any, and which ones could not be killed in time.
    pub(super) async fn clear(mut self) -> (bool, Vec<u32>) {
        if self.is_empty() {
            self.forget();
            return (false, Vec::new());
        }
        let deadline = working_now() + KILL_LIMIT;
        let mut pause = FIRST_PAUSE;
        let (mut left_behind, mut survivors) = (false, Vec::new());
        let mut killed = false;
        loop {
            // Dead members that are not reaped yet belong to the group too, but leave nothing behind.
            survivors = if self.is_empty() {
                killed = true;
                Vec::new()
            } else {
                self.living(survivors)
            };
            if (killed && survivors.is_empty()) || working_now() >= deadline {
                self.forget();
                return (left_behind, survivors);
            }
            // This is done even if no living member was seen: a process that is forked during the check is not seen,
            // and only killed processes cannot fork.
            self.kill();
            killed = true;
            if !survivors.is_empty() {
                left_behind = true;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Returns the living members. If the system does not report them, returns those of the last check, or at least the
    /// leader.
    fn living(&self, before: Vec<u32>) -> Vec<u32> {
        let leader = self.number();
        match platform::living_members(leader) {
            Ok(living) => living,
            Err(_) if before.is_empty() => vec![leader],
            Err(_) => before,
        }
    }

    /// Gives up the group: its number may belong to another group from now on.
    fn forget(&mut self) {
        groups::remove(self.leader);
        self.is_known_empty = true;
        self.listing = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.is_known_empty {
            self.kill();
            self.forget();
        }
    }
}
