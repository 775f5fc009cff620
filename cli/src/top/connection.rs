//! The connection to the run, on a thread of its own: a run that is slow to answer holds no key up.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use ratchet_runtime::{JobKey, RunId, RunStore};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::command::Command;
use super::model::Message;
use crate::live::{AskError, LiveClient, LiveState, Printed, Question};

/// How often the run is asked how it stands.
const INTERVAL: Duration = Duration::from_millis(500);

/// How many pieces of an output are asked for one after the other, if more of it keeps coming.
const PIECES: u32 = 4;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    /// Give this command to the run.
    Give(Command),
    /// Follow the output of this job, or of none.
    Follow(Option<JobKey>),
}

/// What the thread tells.
#[derive(Debug)]
pub(super) enum News {
    /// Something for the model.
    Message(Message),
    /// The run has ended.
    Ended,
    /// The run cannot be reached any more.
    Broken(io::Error),
}

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    requests: mpsc::Sender<Request>,
}

impl Connection {
    /// Asks the run from now on, and sends what it answers.
    pub(super) fn start(
        store: RunStore,
        id: RunId,
        client: LiveClient,
        news: Sender<News>,
    ) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let link = Link { store, id, client };
        std::thread::Builder::new()
            .name("run".to_owned())
            .spawn(move || work(link, &received, &news))?;
        Ok(Self { requests })
    }

    /// Sends a request. If the thread has ended, it has told why.
    pub(super) fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }
}

/// A job whose output is followed, and how much of it is known.
struct Followed {
    job: JobKey,
    stdout: u64,
    stderr: u64,
}

/// Why a question has no answer.
enum LinkError {
    /// The run refuses it.
    Refused(String),
    /// The connection was lost, and there is another one now.
    Lost(String),
    /// The run has ended.
    Ended,
    /// There is no other connection.
    Broken(io::Error),
}

/// A connection that is made again when it is lost: the run drops whoever is silent for long, as this process is while Ctrl-Z
/// stops it.
struct Link {
    store: RunStore,
    id: RunId,
    client: LiveClient,
}

impl Link {
    /// Asks the run. If the connection was lost, this connects again and returns an error.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut LiveClient) -> Result<T, AskError>,
    ) -> Result<T, LinkError> {
        let why = match question(&mut self.client) {
            Ok(answer) => return Ok(answer),
            Err(error @ AskError::Refused(_)) => {
                return Err(LinkError::Refused(match error.help() {
                    Some(help) => format!("{error}; {help}"),
                    None => error.to_string(),
                }));
            }
            Err(error @ AskError::Stopped { .. }) => match error.help() {
                Some(help) => format!("{error}; {help}"),
                None => error.to_string(),
            },
            Err(error @ (AskError::Ended | AskError::Broken(_))) => error.to_string(),
        };
        match LiveClient::connect(&self.store, self.id) {
            Ok(Some(client)) => {
                self.client = client;
                Err(LinkError::Lost(why))
            }
            Ok(None) => Err(LinkError::Ended),
            Err(error) => Err(LinkError::Broken(error)),
        }
    }
}

/// Asks the run again and again, until nobody wants to know any more.
fn work(mut link: Link, requests: &Receiver<Request>, news: &Sender<News>) {
    let mut followed: Option<Followed> = None;
    let mut next = Instant::now();
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let told = match requests.recv_timeout(left) {
            Ok(Request::Give(command)) => give(&mut link, command, news),
            Ok(Request::Follow(job)) => {
                followed = job.map(|job| Followed {
                    job,
                    stdout: 0,
                    stderr: 0,
                });
                follow(&mut link, &mut followed, news)
            }
            Err(RecvTimeoutError::Timeout) => {
                next = Instant::now() + INTERVAL;
                ask_state(&mut link, news).and_then(|()| follow(&mut link, &mut followed, news))
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let last = match told {
            Ok(()) => continue,
            Err(End::Unwatched) => return,
            Err(End::Told(last)) => last,
        };
        // Nobody may be there to hear it.
        let _ = news.blocking_send(last);
        return;
    }
}

/// Why the thread ends.
enum End {
    /// Nobody takes the news any more.
    Unwatched,
    /// This is the last thing to tell.
    Told(News),
}

impl End {
    /// Returns the end that follows from an error, or the reason if the thread goes on.
    fn of(error: LinkError) -> Result<String, Self> {
        match error {
            LinkError::Refused(why) | LinkError::Lost(why) => Ok(why),
            LinkError::Ended => Err(Self::Told(News::Ended)),
            LinkError::Broken(error) => Err(Self::Told(News::Broken(error))),
        }
    }
}

/// Sends a message to the view.
fn tell(news: &Sender<News>, message: Message) -> Result<(), End> {
    let told = news.blocking_send(News::Message(message));
    told.map_err(|_| End::Unwatched)
}

/// Gives a command to the run, and sends the answer and the new state to the view.
fn give(link: &mut Link, command: Command, news: &Sender<News>) -> Result<(), End> {
    let answer = match link.ask(|client| command.give(client)) {
        Ok(()) => Ok(()),
        Err(LinkError::Lost(why)) => Err(format!("{why}, so this may or may not have been done")),
        Err(error) => Err(End::of(error)?),
    };
    tell(news, Message::Answer(command, answer))?;
    ask_state(link, news)
}

/// Asks for the state of the run, and sends it to the view.
fn ask_state(link: &mut Link, news: &Sender<News>) -> Result<(), End> {
    match link.ask(|client| client.ask::<LiveState>(&Question::State)) {
        Ok(state) => tell(news, Message::State(Box::new(state))),
        // The next answer may be another one; the view shows how long there was none.
        Err(error) => End::of(error).map(drop),
    }
}

/// Asks for what a job has printed since it was asked for last.
fn follow(
    link: &mut Link,
    followed: &mut Option<Followed>,
    news: &Sender<News>,
) -> Result<(), End> {
    for _ in 0..PIECES {
        let Some(Followed {
            job,
            stdout,
            stderr,
        }) = followed
        else {
            return Ok(());
        };
        let question = Question::Output {
            job: job.clone(),
            stdout_from: *stdout,
            stderr_from: *stderr,
        };
        let printed: Printed = match link.ask(|client| client.ask(&question)) {
            Ok(printed) => printed,
            Err(error) => return End::of(error).map(drop),
        };
        let job = job.clone();
        if printed.running {
            (*stdout, *stderr) = (printed.stdout.next, printed.stderr.next);
        } else {
            // Another attempt would begin anew.
            (*stdout, *stderr) = (0, 0);
        }
        let is_all = printed.running || printed.attempt == 0;
        if printed.attempt > 0 {
            tell(news, Message::Output(job, printed))?;
        }
        if is_all {
            return Ok(());
        }
    }
    Ok(())
}
