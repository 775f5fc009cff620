//! What the fence of a node is worth: the same faults with it and without it, judged by the log that the jobs write themselves.
//!
//! A node has no switch for its fence. It is off when the keeper is stopped, which is what kills the processes of a node that is
//! killed or stopped.

use ratchet_tests::{Folder, Signal, children_of, is_alive};
use rustix::process::{Pid, kill_process, kill_process_group};

use super::{LONG, Queue, leave, lines, overlaps, pids};

/// A keeper that is stopped. At the end of the test it is killed, with what it should have killed.
struct StoppedKeeper {
    keeper: u32,
    /// The processes of jobs.
    jobs: Vec<u32>,
}

fn id(process: u32) -> Pid {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    id.expect("an id of a process")
}

impl StoppedKeeper {
    /// Stops the keeper of a node.
    fn of(node: u32) -> Self {
        let is_keeper = |child: &u32| {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("--keeper")
        };
        let keeper = children_of(node).into_iter().find(is_keeper);
        let keeper = keeper.expect("a node has a keeper");
        kill_process(id(keeper), rustix::process::Signal::STOP).expect("it lives");
        Self {
            keeper,
            jobs: Vec::new(),
        }
    }
}

impl Drop for StoppedKeeper {
    fn drop(&mut self) {
        // Errors say that they have ended. Each job leads a group.
        let _ = kill_process(id(self.keeper), rustix::process::Signal::KILL);
        for job in &self.jobs {
            let _ = kill_process_group(id(*job), rustix::process::Signal::KILL);
        }
    }
}

/// Lets a node that does an exclusive job have a fault, and another one do the job after the session. Returns how often two jobs
/// were on the host at once, by the log of the jobs.
fn overlaps_after(fault: Signal, has_fence: bool) -> Option<usize> {
    let folder = Folder::new().file("jobs.yaml", LONG);
    let queue = Queue::start(folder)?;
    let faulty = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "--no-record"]).start();
    run.until("the job runs", || {
        !lines(&queue.folder, "attempts").is_empty()
    });
    let mut keeper = (!has_fence).then(|| StoppedKeeper::of(faulty.id()));
    let first = pids(&queue.folder);
    if let Some(keeper) = &mut keeper {
        keeper.jobs.clone_from(&first);
    }
    faulty.signal(fault);
    let node = queue.node("n2", &["-j", "1"]);
    run.until("its successor begins", || {
        lines(&queue.folder, "attempts").len() == 2
    });
    // A process that was killed has written no end. It is over, and the log says so.
    let mut log = lines(&queue.folder, "log");
    if !is_alive(first[0]) {
        log.insert(1, "end h".to_owned());
    }
    let _done = run.wait().with_code(0);
    leave(node);
    drop(keeper);
    if fault == Signal::Stop {
        faulty.signal(Signal::Kill);
    }
    let _killed = faulty.wait();
    Some(overlaps(&log))
}

#[test]
fn a_node_that_is_killed_or_stopped_overlaps_with_its_successor_only_without_its_fence() {
    for fault in [Signal::Kill, Signal::Stop] {
        let Some(with) = overlaps_after(fault, true) else {
            return;
        };
        assert_eq!(with, 0, "{fault:?} with the fence");
        let without = overlaps_after(fault, false);
        assert_eq!(without, Some(1), "{fault:?} without the fence");
    }
}
