//! The server of a run in progress, which answers clients on the socket of the run.

mod adding;
mod worker_figures;

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratchet_runtime::process::{ProcessPool, working_now};
use ratchet_runtime::{
    Cancellation, Error as RunError, JobKey, JobOutput, JobState, Limit, Quota, RunHandle,
};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::additions::JobAdding;
use super::figures::LiveFigures;
use super::message::{
    CancelEffect, Explanation, LimitChange, LiveState, Printed, Question, Refusal, Reply, VERSION,
};
use super::place::{BoundSocket, is_ours};
use super::question_limiter::QuestionLimiter;
use super::state::{self, History};
use super::steering::{SteeringChange, SteeringRecord};
use worker_figures::WorkerFigures;

/// The most clients at the same time. Each needs a buffer for a question.
const CLIENTS: usize = 16;

/// The most bytes that a question may have.
///
/// An addition is sent as one line, in which its text is longer than in its file.
const LONGEST_QUESTION: usize = 16 << 20;

/// The capacity that the buffer of a connection keeps after a longer question.
const KEPT: usize = 1 << 16;

/// How many turns of the loop the gauges may take to show what the loop was told.
const GAUGE_TURNS: u32 = 3;

/// How long a connection may be silent. A client that does not ask must not keep others out.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of a run waits for clients that follow a job and have not read the rest of its output.
const FOLLOWER_DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// The pause after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The parts of a run that the live server shows and controls.
pub(crate) struct Served {
    /// The id of the run.
    pub(crate) run: String,
    /// The handle by which the loop is asked and steered.
    pub(crate) handle: RunHandle,
    /// The figures that the loop does not know.
    pub(crate) figures: Arc<LiveFigures>,
    /// When the run began, by the clock of work.
    pub(crate) began: Instant,
    /// Returns how many of this many jobs could run at once on this machine.
    pub(crate) fit: Box<dyn Fn(u32) -> u32 + Send + Sync>,
    /// The record of changes, from which `resume` repeats them.
    pub(crate) record: SteeringRecord,
    /// The pools of the run.
    pub(crate) pools: Vec<ProcessPool>,
    /// How jobs are added; `None` if the run takes none.
    pub(crate) adding: Option<JobAdding>,
}

/// The server of a run. When it is dropped, its thread ends and the socket is removed.
#[derive(Debug)]
pub(crate) struct LiveServer {
    stop: CancellationToken,
    /// The thread that answers. It is nothing once it was joined.
    thread: Option<JoinHandle<()>>,
    _socket: BoundSocket,
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // The thread ends at once unless a client follows a job. A panic in it was reported when it happened, and
            // harms no job.
            let _ = thread.join();
        }
    }
}

impl LiveServer {
    /// Makes the socket of the run that has this folder, and starts the thread that answers.
    pub(crate) fn start(run_folder: &Path, served: Served) -> io::Result<Self> {
        let (socket, listener) = BoundSocket::bind(run_folder, &served.run)?;
        listener.set_nonblocking(true)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("live".to_owned())
            .spawn(move || {
                // The thread makes its runtime itself. If the system refused the thread, a runtime of the caller would be
                // dropped within the runtime of the run, which panics.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let served = runtime.and_then(|it| it.block_on(serve(listener, served, stopped)));
                if let Err(error) = served {
                    tracing::warn!(%error, "this run cannot answer questions");
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
            _socket: socket,
        })
    }
}

async fn serve(listener: StdListener, served: Served, stop: CancellationToken) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let answers = Arc::new(Answers::new(served));
    let mut clients = JoinSet::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                finish_clients(&answers, &mut clients).await;
                return Ok(());
            }
            _ = second.tick() => answers.note_second(),
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if is_trusted(&stream) => {
                    if clients.len() < CLIENTS {
                        let is_gone = departure_of(&stream);
                        clients.spawn(serve_client(stream, Arc::clone(&answers), is_gone));
                    } else {
                        refuse(&stream);
                    }
                }
                Ok(_) => {}
                // This happens if the process has no file descriptor left, so another try needs a pause.
                Err(error) => {
                    tracing::debug!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
}

/// Waits until clients that follow a job have asked for the rest of its output, because the job may have ended together
/// with the run.
async fn finish_clients(answers: &Answers, clients: &mut JoinSet<()>) {
    let rest = async {
        while answers.followers.load(Ordering::Relaxed) > 0 && clients.join_next().await.is_some() {
        }
    };
    // A client that has not asked by then is too slow, or gone.
    let _ = timeout(FOLLOWER_DRAIN_LIMIT, rest).await;
}

/// Returns a function that tells whether a client has closed its connection. One that has closed only its sending side still
/// waits for answers.
fn departure_of(stream: &UnixStream) -> impl Fn() -> bool + use<> {
    let descriptor = stream.as_fd().try_clone_to_owned();
    move || {
        let Ok(descriptor) = &descriptor else {
            return false;
        };
        let mut polled = [PollFd::new(descriptor, PollFlags::empty())];
        let now = rustix::time::Timespec::default();
        // The system reports a closed connection without being asked to.
        poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::HUP)
    }
}

/// Whether the client belongs to the user of this process, or to root. The folder of the socket keeps out all others,
/// too; this is a second check.
fn is_trusted(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred();
    peer.is_ok_and(|peer| is_ours(peer.uid()) || peer.uid() == 0)
}

/// Tells a client that there are too many, without waiting for it.
fn refuse(stream: &UnixStream) {
    let refusal = Refusal::new(format!(
        "this run already has {CLIENTS} clients; try again later"
    ));
    // If the client does not take the answer, it finds the connection closed.
    let _ = stream.try_write(&line::<()>(Err(refusal)));
}

/// Answers the questions of a client until it is gone, silent or slow, or sends a line that is too long.
///
/// A question whose client `is_gone` is dropped. While this process was stopped, the client has given up and has told its
/// user that nothing was changed.
async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Arc<Answers>,
    is_gone: impl Fn() -> bool,
) {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = BufReader::new(read);
    let mut question = Vec::new();
    let mut followed = None;
    let counted = Follower::new(&answers.followers);
    loop {
        question.clear();
        question.shrink_to(KEPT);
        let read = timeout(IDLE_TIMEOUT, read_line(&mut reader, &mut question));
        let (answer, is_last) = match read.await {
            Ok(Ok(ReadLine::Whole)) if is_gone() => return,
            Ok(Ok(ReadLine::Whole)) => {
                let answer = answers.answer(&question, &mut followed).await;
                counted.set(followed.is_some());
                (answer, false)
            }
            Ok(Ok(ReadLine::TooLong)) => {
                let refusal = format!("a question has more than {LONGEST_QUESTION} bytes");
                (line::<()>(Err(Refusal::new(refusal))), true)
            }
            Ok(Ok(ReadLine::End) | Err(_)) | Err(_) => return,
        };
        let written = timeout(WRITE_TIMEOUT, write.write_all(&answer)).await;
        if is_last || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// The job whose output a connection follows, with the output.
struct Followed {
    job: JobKey,
    output: JobOutput,
}

/// Counts a connection as a follower as long as it follows a job.
struct Follower<'a> {
    followers: &'a AtomicUsize,
    is_counted: Cell<bool>,
}

impl<'a> Follower<'a> {
    fn new(followers: &'a AtomicUsize) -> Self {
        let is_counted = Cell::new(false);
        Self {
            followers,
            is_counted,
        }
    }

    fn set(&self, follows: bool) {
        match (self.is_counted.replace(follows), follows) {
            (false, true) => self.followers.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.followers.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The result of reading a line.
enum ReadLine {
    /// A complete line, without its newline.
    Whole,
    /// A line that is longer than a question may be.
    TooLong,
    /// The client has closed the connection. An unfinished line is dropped.
    End,
}

async fn read_line(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<ReadLine> {
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(ReadLine::End);
        }
        let end = memchr::memchr(b'\n', bytes);
        let part = end.unwrap_or(bytes.len());
        if line.len() + part > LONGEST_QUESTION {
            return Ok(ReadLine::TooLong);
        }
        line.extend_from_slice(&bytes[..part]);
        reader.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(ReadLine::Whole);
        }
    }
}

/// Returns a line of an answer, or of a refusal.
fn line<T: Serialize>(answer: Result<T, Refusal>) -> Vec<u8> {
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let reply = Reply {
        v: VERSION,
        answer,
        error,
    };
    #[expect(
        clippy::expect_used,
        reason = "all keys of an answer are text, and its numbers are finite"
    )]
    let mut line = serde_json::to_vec(&reply).expect("an answer can be written as JSON");
    line.push(b'\n');
    line
}

/// The part of the server that all connections share, and that answers their questions.
struct Answers {
    served: Served,
    question_limiter: QuestionLimiter,
    worker_figures: WorkerFigures,
    history: Mutex<History>,
    /// How many connections follow a job and have not received all of its output.
    followers: AtomicUsize,
}

impl Answers {
    fn new(served: Served) -> Self {
        Self {
            served,
            question_limiter: QuestionLimiter::new(),
            worker_figures: WorkerFigures::default(),
            history: Mutex::default(),
            followers: AtomicUsize::new(0),
        }
    }

    /// Records how many jobs have ended by now. It is called once a second.
    fn note_second(&self) {
        let ended = self.served.handle.status().ended;
        self.history().note(ended);
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a line. `followed` is the job whose output this connection last asked for.
    async fn answer(&self, question: &[u8], followed: &mut Option<Followed>) -> Vec<u8> {
        let question = match serde_json::from_slice(question) {
            Ok(question) => question,
            Err(error) => {
                return line::<()>(Err(Refusal::new(format!(
                    "this is not a question of the protocol: {error}"
                ))));
            }
        };
        match question {
            Question::State => line(self.state().await),
            Question::Explain { job } => line(self.explain(job).await),
            Question::Output {
                job,
                stdout_from,
                stderr_from,
            } => {
                let from = (stdout_from, stderr_from);
                line(self.output(job, from, followed).await)
            }
            Question::Cancel { jobs } => line(self.cancel(jobs).await),
            Question::Pause => line(self.pause(true).await),
            Question::Continue => line(self.pause(false).await),
            Question::Set { jobs, limits } => {
                line(self.set(jobs.map(std::num::NonZeroU32::get), limits).await)
            }
            Question::Add(addition) => line(self.add(addition).await),
        }
    }

    async fn state(&self) -> Result<LiveState, Refusal> {
        let served = &self.served;
        let snapshot = self.question_limiter.snapshot(&served.handle).await;
        let snapshot = snapshot.map_err(refusal)?;
        let workers = self.worker_figures.get(&served.pools).await;
        let elapsed = working_now().saturating_duration_since(served.began);
        let status = served.handle.status();
        let run = (served.run.as_str(), elapsed);
        let history = self.history();
        Ok(state::state(
            run,
            (&snapshot, workers),
            status,
            &served.figures,
            &history,
        ))
    }

    async fn explain(&self, job: JobKey) -> Result<Explanation, Refusal> {
        let snapshot = self.question_limiter.snapshot(&self.served.handle).await;
        let snapshot = snapshot.map_err(refusal)?;
        let running = snapshot.running.iter().find(|one| one.job.id == job);
        let waiting = snapshot.waiting.iter().find(|one| one.job.id == job);
        let state = match (running, waiting) {
            (Some(running), _) => Some(JobState::Running(running.clone())),
            (None, Some(waiting)) => Some(JobState::Waiting(waiting.clone())),
            // The job may not have been taken in yet. A snapshot does not contain such jobs.
            (None, None) => {
                let find = self.served.handle.find([job.clone()]);
                let found = self.question_limiter.pass(find).await.map_err(refusal)?;
                found.into_iter().next().flatten()
            }
        };
        Ok(state::explanation(job, state.as_ref()))
    }

    /// Returns what a job has printed after these bytes of stdout and stderr. If the job has ended since this
    /// connection last asked for it, this is the rest of its output.
    async fn output(
        &self,
        job: JobKey,
        (stdout_from, stderr_from): (u64, u64),
        followed: &mut Option<Followed>,
    ) -> Result<Printed, Refusal> {
        let asked = self
            .question_limiter
            .pass(self.served.handle.output(job.clone()));
        let now = match asked.await {
            Ok(now) => now,
            // The run has ended, but `followed` still has the rest of the output.
            Err(_)
                if followed
                    .as_ref()
                    .is_some_and(|followed| followed.job == job) =>
            {
                None
            }
            Err(error) => return Err(refusal(error)),
        };
        let before = followed.take().filter(|followed| followed.job == job);
        let (output, running) = match (now, before) {
            (Some(now), Some(before)) if before.output.attempt() != now.attempt() => {
                let rest = before.output;
                *followed = Some(Followed { job, output: now });
                // The attempt of `before` prints no more. Its rest is returned first, and the next question gets the
                // output of the new attempt.
                (rest, false)
            }
            (Some(now), _) => {
                let output = now.clone();
                *followed = Some(Followed { job, output: now });
                (output, true)
            }
            (None, Some(before)) => (before.output, false),
            (None, None) => return Ok(Printed::default()),
        };
        Ok(state::printed(&output, running, stdout_from, stderr_from))
    }

    async fn cancel(&self, jobs: Vec<JobKey>) -> Result<Vec<CancelEffect>, Refusal> {
        let cancel = self.served.handle.cancel_jobs(jobs.clone());
        let became = self.question_limiter.pass(cancel).await.map_err(refusal)?;
        self.question_limiter.forget().await;
        let word = |became| match became {
            Cancellation::Ended => "cancelled",
            Cancellation::Asked => "asked",
            _ => "unknown",
        };
        let became = jobs
            .into_iter()
            .zip(became)
            .map(|(job, became)| CancelEffect {
                job,
                became: word(became).to_owned(),
            });
        Ok(became.collect())
    }

    /// Pauses the run, or continues it. Returns whether it is paused now.
    async fn pause(&self, is_paused: bool) -> Result<bool, Refusal> {
        let handle = &self.served.handle;
        if is_paused {
            handle.pause();
        } else {
            handle.resume();
        }
        // The loop obeys in the order in which it is told, so the order was obeyed when this is answered. The gauges follow at
        // the end of that turn of the loop, so they are right in the next one. Somebody else may have told the opposite
        // meanwhile, so this does not wait for them.
        for _ in 0..GAUGE_TURNS {
            self.question_limiter.forget().await;
            let snapshot = self.question_limiter.snapshot(handle).await;
            snapshot.map_err(refusal)?;
            if handle.status().is_paused == is_paused {
                break;
            }
        }
        Ok(is_paused)
    }

    /// Changes slots and limits. Everything is checked before anything is changed. Returns what was changed, in words.
    async fn set(
        &self,
        slots: Option<u32>,
        limits: Vec<(String, LimitChange)>,
    ) -> Result<Vec<String>, Refusal> {
        let (handle, question_limiter) = (&self.served.handle, &self.question_limiter);
        if let Some(slots) = slots {
            let most = (self.served.fit)(slots);
            if most < slots {
                return Err(Refusal::new(format!(
                    "{slots} jobs cannot run at once: there is room for {most}"
                ))
                .with_help("the limit of open files (`ulimit -Hn`) may be too low, or the jobs use the terminal"));
            }
        }
        let now = question_limiter.snapshot(handle).await.map_err(refusal)?;
        let mut changes = Vec::new();
        for (name, change) in limits {
            let known = now.limits.iter().find(|(known, _)| *known == name);
            let Some((_, state)) = known else {
                let names: Vec<&str> = now.limits.iter().map(|(name, _)| name.as_str()).collect();
                let help = match crate::value::closest(&name, names.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None if names.is_empty() => "it has no limits".to_owned(),
                    None => format!("it has {}", names.join(", ")),
                };
                return Err(Refusal::new(format!("the run has no limit `{name}`")).with_help(help));
            };
            changes.push((name.clone(), changed(&name, state.limit, change)?));
        }
        let mut told = Vec::new();
        if let Some(slots) = slots {
            let set = question_limiter.pass(handle.set_slots(slots)).await;
            set.map_err(refusal)?;
            told.push(format!("jobs {slots}"));
            if let Some(slots) = std::num::NonZeroU32::new(slots) {
                self.record_change(&SteeringChange::Slots(slots))?;
            }
        }
        for (name, limit) in changes {
            let set = question_limiter
                .pass(handle.set_limit(name.clone(), limit))
                .await;
            set.map_err(refusal)?;
            told.push(format!("limit {name} {limit}"));
            self.record_change(&SteeringChange::Limit(name, limit))?;
        }
        question_limiter.forget().await;
        Ok(told)
    }

    /// Records a change, so that `resume` goes on with it.
    fn record_change(&self, change: &SteeringChange) -> Result<(), Refusal> {
        self.served.record.add(change).map_err(|error| {
            let path = self.served.record.path().display();
            Refusal::new(format!(
                "the run was changed, but the change cannot be recorded in `{path}`, so `resume` will not repeat it: {error}"
            ))
        })
    }
}

/// Returns the limit after a change. A limit of units cannot become a rate, nor a rate a limit of units.
fn changed(name: &str, now: Limit, change: LimitChange) -> Result<Limit, Refusal> {
    match (now, change) {
        (Limit::Max(_), LimitChange::Max(max)) => Ok(Limit::Max(max)),
        (Limit::Rate(quota), LimitChange::Rate { rate, burst }) => Ok(Limit::Rate(Quota {
            rate,
            burst: burst.unwrap_or(quota.burst),
        })),
        (Limit::Max(_), LimitChange::Rate { .. }) => Err(Refusal::new(format!(
            "limit `{name}` is a number of units ({now}), which cannot become a rate"
        ))
        .with_help(format!("write a number, as in --limit {name}=2"))),
        (Limit::Rate(_), LimitChange::Max(_)) => Err(Refusal::new(format!(
            "limit `{name}` is a rate ({now}), which cannot become a number of units"
        ))
        .with_help(format!("write a rate, as in --limit {name}=5/s"))),
    }
}

fn refusal(error: RunError) -> Refusal {
    match error {
        RunError::RunEnded => {
            Refusal::new("all jobs of the run have ended; results are being written")
        }
        RunError::ShuttingDown => Refusal::new("the run is stopping and takes no more jobs")
            .with_help("add them to another run, or to this one when it was resumed"),
        error => Refusal::new(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
