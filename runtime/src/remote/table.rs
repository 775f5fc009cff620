//! The table of the processes on another host, on the dispatcher's side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::message::{FromAgent, ToAgent, ended, grace_ms, usage_from_wire, wire_id};
use super::view::RemoteView;
use crate::os::{
    Ended, Ending, Exit, ExitNotice, InputNotice, ProcessId, ProcessInfo, ProcessUsage,
};

/// All processes of a host that have not ended, and the questions that its agent has not answered.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    state: Mutex<TableState>,
}

/// The last number that a process or a question on any host has had. All connections share it, so an id is never used
/// by two of them.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The state of a table.
#[derive(Debug, Default)]
struct TableState {
    living: BTreeMap<ProcessId, ProcessEntry>,
    /// The connections that were lost. A process that is added for one of them would never be reported as ended.
    lost: BTreeSet<u64>,
    questions: BTreeMap<u64, OpenQuestion>,
}

/// A question for the usage of processes that is not answered.
#[derive(Debug)]
struct OpenQuestion {
    /// The connection over which it was asked.
    connection: u64,
    asked_at: Instant,
    answer: oneshot::Sender<BTreeMap<ProcessId, ProcessUsage>>,
}

/// A request for a process that its agent has not answered.
#[derive(Debug, Clone, Copy)]
enum OpenRequest {
    /// To start it.
    Start,
    /// To end it.
    End,
}

impl OpenRequest {
    /// Describes the request in messages.
    fn in_words(self) -> &'static str {
        match self {
            Self::Start => "start a process",
            Self::End => "end a process",
        }
    }
}

/// A process that was asked for, and has not ended.
#[derive(Debug)]
pub(super) struct ProcessEntry {
    /// The connection over which it was started.
    connection: u64,
    /// The sender of messages to its agent.
    messages: mpsc::UnboundedSender<ToAgent>,
    /// The program and its arguments.
    command: Arc<str>,
    /// The id of the process on its host, once it runs.
    system_id: Option<u32>,
    /// Announces that it has ended.
    notice: ExitNotice,
    /// Announces that it has closed its stdin.
    input: InputNotice,
    /// The output and the state of the process that have arrived so far.
    shared: Arc<RemoteView>,
    /// The request that its agent has not answered, and from when on the time for the answer counts.
    open: Option<(OpenRequest, Instant)>,
    /// The question for how much the process has printed, while it is not done with.
    count: Option<OpenCount>,
}

/// The question for how much a process has printed. It stays open until that much has come, so that a host that claims
/// more than it ever sends is given up.
#[derive(Debug)]
struct OpenCount {
    asked_at: Instant,
    /// Sends the agent's answer; `None` once that has come.
    answer: Option<oneshot::Sender<Option<u64>>>,
}

impl ProcessEntry {
    /// Makes the entry of a process that is to be started over a connection, with the channels that announce what it does.
    pub(super) fn new(
        (connection, messages): (u64, mpsc::UnboundedSender<ToAgent>),
        command: Arc<str>,
        notice: ExitNotice,
        input: InputNotice,
        shared: Arc<RemoteView>,
    ) -> Self {
        Self {
            connection,
            messages,
            command,
            system_id: None,
            notice,
            input,
            shared,
            open: None,
            count: None,
        }
    }
}

/// Returns a number that no process and no question has had.
fn number() -> u64 {
    // Relaxed: only uniqueness depends on it.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl ProcessTable {
    fn state(&self) -> MutexGuard<'_, TableState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a process has not ended.
    pub(super) fn has_processes(&self) -> bool {
        !self.state().living.is_empty()
    }

    /// Registers a process before the agent is asked to start it, unless its connection is lost.
    pub(super) fn add(&self, entry: ProcessEntry) -> Option<ProcessId> {
        let id = ProcessId::new(number());
        let mut state = self.state();
        if state.lost.contains(&entry.connection) {
            return None;
        }
        state.living.insert(id, entry);
        Some(id)
    }

    /// Records that the agent is asked now to start a process.
    pub(super) fn start_asked(&self, id: ProcessId, now: Instant) {
        if let Some(entry) = self.state().living.get_mut(&id) {
            entry.open = Some((OpenRequest::Start, now));
        }
    }

    /// Records that a process runs.
    pub(super) fn started(&self, id: ProcessId, system_id: u32) {
        if let Some(entry) = self.state().living.get_mut(&id) {
            entry.system_id = Some(system_id);
            // It may have been told to end before its start was answered.
            entry.open = entry
                .open
                .filter(|(request, _)| matches!(request, OpenRequest::End));
        }
    }

    /// Returns what the agent of a connection was asked to do, if it has not answered that within this time.
    pub(super) fn overdue(
        &self,
        connection: u64,
        limit: Duration,
        now: Instant,
    ) -> Option<&'static str> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= limit;
        let state = self.state();
        let mut processes = state
            .living
            .values()
            .filter(|entry| entry.connection == connection);
        let request = processes.find_map(|entry| {
            let count = entry.count.as_ref();
            if count.is_some_and(|count| is_over(count.asked_at)) {
                return Some("report the output of a process");
            }
            let (request, since) = entry.open?;
            is_over(since).then(|| request.in_words())
        });
        request.or_else(|| {
            let mut questions = state.questions.values();
            let is_overdue = questions.any(|open| {
                open.connection == connection && !open.answer.is_closed() && is_over(open.asked_at)
            });
            is_overdue.then_some("measure processes")
        })
    }

    /// Removes a process that was not started.
    pub(super) fn not_started(&self, id: ProcessId) {
        if let Some(entry) = self.state().living.remove(&id) {
            entry.shared.cut();
        }
    }

    /// Returns the processes that run, oldest first.
    pub(super) fn list(&self) -> Vec<ProcessInfo> {
        let state = self.state();
        let infos = state.living.iter().filter_map(|(id, entry)| {
            Some(ProcessInfo {
                id: *id,
                system_id: entry.system_id?,
                command: Arc::clone(&entry.command),
            })
        });
        infos.collect()
    }

    /// Sends the agent of a process a message about it. The process may have ended.
    pub(super) fn send(&self, id: ProcessId, message: ToAgent) {
        if let Some(entry) = self.state().living.get(&id) {
            // An error means that the connection is lost, and then the agent ends the process.
            let _ = entry.messages.send(message);
        }
    }

    /// Makes a process end.
    pub(super) fn terminate(&self, id: ProcessId, grace: Duration, now: Instant) {
        if let Some(entry) = self.state().living.get_mut(&id)
            && let Some(due) = now.checked_add(grace)
        {
            // If it is told again, the shorter grace counts.
            let due = match entry.open {
                Some((OpenRequest::End, before)) => before.min(due),
                _ => due,
            };
            entry.open = Some((OpenRequest::End, due));
        }
        let message = ToAgent::Terminate {
            id: wire_id(id),
            grace_ms: grace_ms(grace),
        };
        self.send(id, message);
    }

    /// Asks the agent of a process how much it has printed. The answer is dropped if the process ends before that.
    /// Returns `None` if the process is known to have ended.
    ///
    /// The question stays open until [`output_counted`](Self::output_counted) is called.
    pub(super) fn count_output(
        &self,
        id: ProcessId,
        now: Instant,
    ) -> Option<oneshot::Receiver<Option<u64>>> {
        let mut state = self.state();
        let entry = state.living.get_mut(&id)?;
        let (answer, answered) = oneshot::channel();
        entry.count = Some(OpenCount {
            asked_at: now,
            answer: Some(answer),
        });
        // An error means that the connection is lost, and then the process ends.
        let _ = entry
            .messages
            .send(ToAgent::CountOutput { id: wire_id(id) });
        Some(answered)
    }

    /// Records that what a process had printed when its agent was asked has come.
    pub(super) fn output_counted(&self, id: ProcessId) {
        if let Some(entry) = self.state().living.get_mut(&id) {
            entry.count = None;
        }
    }

    /// Asks an agent for the usage of processes.
    pub(super) fn measure(
        &self,
        connection: u64,
        ids: &[ProcessId],
        messages: &mpsc::UnboundedSender<ToAgent>,
        now: Instant,
    ) -> oneshot::Receiver<BTreeMap<ProcessId, ProcessUsage>> {
        let (answer, answered) = oneshot::channel();
        let question = number();
        let ids = ids.iter().map(|id| wire_id(*id)).collect();
        let mut state = self.state();
        // The receiver of an answer may have been dropped.
        state.questions.retain(|_, open| !open.answer.is_closed());
        // A lost connection may accept messages for a moment, but they would never be answered.
        if !state.lost.contains(&connection)
            && messages.send(ToAgent::Measure { question, ids }).is_ok()
        {
            let open = OpenQuestion {
                connection,
                asked_at: now,
                answer,
            };
            state.questions.insert(question, open);
        }
        answered
    }

    /// Handles a message from an agent. If the process is unknown, it was given up, and the message is ignored.
    pub(super) fn take(&self, connection: u64, message: FromAgent) {
        match message {
            FromAgent::Ended {
                id,
                exit,
                ending,
                left_behind,
                survivors,
                read,
                ran_ms,
            } => {
                let id = ProcessId::new(id);
                let mut state = self.state();
                let is_its = |entry: &ProcessEntry| entry.connection == connection;
                if !state.living.get(&id).is_some_and(is_its) {
                    return;
                }
                if let Some(entry) = state.living.remove(&id) {
                    drop(state);
                    let ended = ended(exit, ending, left_behind, survivors);
                    entry.shared.has_ended(read, Duration::from_millis(ran_ms));
                    tokio::spawn(announce(entry, ended));
                }
            }
            FromAgent::InputClosed { id, read } => {
                let state = self.state();
                if let Some(entry) = state.living.get(&ProcessId::new(id)) {
                    entry.shared.has_closed_input(read);
                    entry.input.send();
                }
            }
            FromAgent::OutputCounted { id, printed } => {
                let mut state = self.state();
                let entry = state.living.get_mut(&ProcessId::new(id));
                let count = entry.and_then(|entry| entry.count.as_mut());
                if let Some(answer) = count.and_then(|count| count.answer.take()) {
                    // The receiver may have been dropped.
                    let _ = answer.send(printed);
                }
            }
            FromAgent::Measured { question, usage } => {
                let open = self.state().questions.remove(&question);
                if let Some(open) = open {
                    let usage = usage.into_iter().map(usage_from_wire);
                    // The receiver may have been dropped.
                    let _ = open.answer.send(usage.collect());
                }
            }
            // The connection handles these.
            FromAgent::Beat
            | FromAgent::Answer { .. }
            | FromAgent::Machine(_)
            | FromAgent::TimeAsked { .. } => {}
        }
    }

    /// Ends all processes of a connection that was lost.
    pub(super) fn lose(&self, connection: u64) {
        let mut state = self.state();
        state.lost.insert(connection);
        state.questions.clear();
        let all = std::mem::take(&mut state.living);
        let (lost, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = all
            .into_iter()
            .partition(|(_, entry)| entry.connection == connection);
        state.living = kept;
        drop(state);
        for entry in lost.into_values() {
            entry.shared.is_lost();
            entry.notice.send(Ended {
                exit: Exit::Unknown,
                ending: Ending::HostLost,
                left_behind: false,
                survivors: Vec::new(),
            });
        }
    }
}

/// Announces that a process has ended, once all its output has come or waits to be read, or no more can come.
async fn announce(entry: ProcessEntry, ended: Ended) {
    // The agent has sent all output before the message of the end, but streams may overtake each other.
    tokio::join!(
        entry.shared.stdout.is_settled(),
        entry.shared.stderr.is_settled()
    );
    entry.shared.stdout.process_ended();
    entry.shared.stderr.process_ended();
    entry.notice.send(ended);
}
