//! `ratchet top`: a view of a run in progress on the whole terminal, with keys that steer the run.
//!
//! ```text
//! keys, size --thread `keys`--+
//! signals --------------------+--> page --messages--> Model --> view
//! run <--thread `run`---------+                        |
//!      <---------------------- effects ----------------+
//! ```
//!
//! It is a client of the run's socket like `runs show`. A slow terminal, or Ctrl-Z, holds only this process up: the run answers
//! whoever asks, and drops whoever does not listen.

mod chooser;
mod command;
mod connection;
mod key;
mod model;
mod page;
mod palette;
mod screen;
mod tail;
mod text;
mod view;

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratchet_runtime::{RunId, RunStore};
use tokio::sync::mpsc;

use crate::error::CliError;
use crate::exit;
use crate::live::{LiveClient, LiveState, Question};
use chooser::Chooser;
use connection::{Connection, News, Request};
use model::{Effect, Message, Model};
use page::{Flow, Input, Inputs, Page, Shown, show};
use palette::Palette;
use screen::Screen;

/// How much news waits at most. While the terminal takes nothing, the run is not asked either.
const NEWS: usize = 8;

/// A run in progress that can be shown.
pub(crate) struct Candidate {
    /// The id of the run.
    pub(crate) id: RunId,
    /// The connection to it.
    pub(crate) client: LiveClient,
    /// What a list says of it, in a line.
    pub(crate) about: String,
}

/// How the view has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewEnd {
    /// The user has ended it, or a signal has; the exit code tells.
    Quit(u8),
    /// The run has ended.
    RunEnded(RunId),
}

/// Shows a run, which is chosen from a list if there are several. `is_coloured` says whether there are colours.
pub(crate) fn view(
    store: &RunStore,
    candidates: Vec<Candidate>,
    is_coloured: bool,
) -> Result<ViewEnd, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(broken)?;
    let end = runtime.block_on(view_one(store, candidates, Palette::new(is_coloured)));
    // The thread that reads keys waits for the next one, for which nobody waits any more.
    runtime.shutdown_background();
    end
}

async fn view_one(
    store: &RunStore,
    mut candidates: Vec<Candidate>,
    palette: Palette,
) -> Result<ViewEnd, CliError> {
    let mut screen = Screen::open().map_err(broken)?;
    let mut inputs = Inputs::open().map_err(broken)?;
    let mut chosen = 0;
    if candidates.len() > 1 {
        let runs = candidates.iter().map(|run| run.about.clone()).collect();
        let mut page = Chooser::new(runs, palette);
        let shown = show(&mut page, &mut screen, &mut inputs, None).await;
        match shown.map_err(broken)? {
            Shown::Signal(code) => return Ok(ViewEnd::Quit(code)),
            Shown::Ended(None) => return Ok(ViewEnd::Quit(exit::SUCCESS)),
            Shown::Ended(Some(at)) => chosen = at,
        }
    }
    let Candidate { id, mut client, .. } = candidates.swap_remove(chosen);
    // The others are not asked, and would hold places at their runs.
    drop(candidates);
    // Whoever waited long in the list has lost the connection.
    if client.ask::<LiveState>(&Question::State).is_err() {
        let again = LiveClient::connect(store, id).map_err(broken)?;
        let Some(again) = again else {
            return Ok(ViewEnd::RunEnded(id));
        };
        client = again;
    }
    let (send, mut news) = mpsc::channel(NEWS);
    let connection = Connection::start(store.clone(), id, client, send).map_err(broken)?;
    let mut page = RunPage {
        model: Model::default(),
        connection,
        palette,
    };
    let shown = show(&mut page, &mut screen, &mut inputs, Some(&mut news)).await;
    match shown.map_err(broken)? {
        Shown::Signal(code) => Ok(ViewEnd::Quit(code)),
        Shown::Ended(PageEnd::Quit) => Ok(ViewEnd::Quit(exit::SUCCESS)),
        Shown::Ended(PageEnd::RunEnded) => Ok(ViewEnd::RunEnded(id)),
        Shown::Ended(PageEnd::Broken(error)) => {
            Err(CliError::internal(format!("run {id} cannot be asked any more")).because(error))
        }
    }
}

fn broken(error: io::Error) -> CliError {
    CliError::internal("the view cannot be shown").because(error)
}

/// How the page of a run ends.
#[derive(Debug)]
enum PageEnd {
    Quit,
    RunEnded,
    Broken(io::Error),
}

/// The page of a run: the model, and what does its effects.
struct RunPage {
    model: Model,
    connection: Connection,
    palette: Palette,
}

impl Page for RunPage {
    type End = PageEnd;

    fn draw(&self, frame: &mut Frame<'_>) {
        view::draw(frame, &self.model, self.palette);
    }

    fn take(&mut self, input: Input, now: Duration) -> Flow<PageEnd> {
        let message = match input {
            Input::Key(key) => Message::Key(key),
            Input::News(News::Message(message)) => message,
            Input::Tick => Message::Tick,
            Input::News(News::Ended) => return Flow::End(PageEnd::RunEnded),
            Input::News(News::Broken(error)) => return Flow::End(PageEnd::Broken(error)),
        };
        let mut flow = Flow::Stay;
        for effect in self.model.update(message, now) {
            match effect {
                Effect::Send(command) => self.connection.send(Request::Give(command)),
                Effect::Follow(job) => self.connection.send(Request::Follow(job)),
                Effect::Quit => flow = Flow::End(PageEnd::Quit),
                Effect::Suspend => flow = Flow::Suspend,
                Effect::Redraw => flow = Flow::Redraw,
            }
        }
        flow
    }
}
