//! What the view knows and shows, as a value: messages go in, effects come out.

use std::num::NonZeroU32;
use std::time::Duration;

use ratchet_runtime::JobKey;

use super::command::Command;
use super::key::Key;
use super::tail::Tail;
use crate::escape::plain;
use crate::live::{LiveState, Printed};

/// How many states may still show what was before a command that has been answered. The run shows some figures a moment late.
const LATE_STATES: u32 = 6;

/// How long a run may be silent before the view says so.
const SILENCE: Duration = Duration::from_secs(3);

/// How many jobs a page of a list has, for the keys that move by one.
const PAGE: usize = 10;

/// The most digits of a number of slots that are taken.
const DIGITS: usize = 9;

/// What the view is told.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// How the run stands.
    State(Box<LiveState>),
    /// What a job has printed since it was asked for last.
    Output(JobKey, Printed),
    /// A command was obeyed, or refused for this reason.
    Answer(Command, Result<(), String>),
    /// A key was typed.
    Key(Key),
    /// Time has passed, or the terminal has another size.
    Tick,
}

/// What follows from a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Send a command to the run.
    Send(Command),
    /// Follow the output of this job from now on, or of none.
    Follow(Option<JobKey>),
    /// End the view.
    Quit,
    /// Stop this process, as Ctrl-Z asks for.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// The list in which a job is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Focus {
    /// The jobs that run.
    #[default]
    Running,
    /// The jobs that have failed.
    Failed,
}

/// What keys do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// They move, and give commands.
    #[default]
    Normal,
    /// They close the help.
    Help,
    /// They say whether this job is cancelled.
    ConfirmCancel(JobKey),
    /// They type a number of slots.
    TypeSlots(String),
}

/// A sentence about what was done, which the next key removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The sentence.
    pub(super) text: String,
    /// Whether something went wrong.
    pub(super) is_error: bool,
}

/// A value that an answered command has set. The next states of the run may still show the old value.
#[derive(Debug, Clone, Copy)]
struct RecentChange<T> {
    /// The value that the command has set.
    value: T,
    /// How many more states may still show another value.
    left: u32,
}

impl<T: Copy + PartialEq> RecentChange<T> {
    fn new(value: T) -> Self {
        let left = LATE_STATES;
        Self { value, left }
    }

    /// Replaces the old value in a state by the one that was set, as long as states may be late.
    fn correct(this: &mut Option<Self>, said: &mut T) {
        let Some(change) = this else { return };
        if *said == change.value || change.left == 0 {
            *this = None;
            return;
        }
        change.left -= 1;
        *said = change.value;
    }
}

/// What the view of a run knows and shows.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The last state of the run, with what commands have changed since.
    state: LiveState,
    /// When the last state came; nothing before the first one.
    heard: Option<Duration>,
    now: Duration,
    focus: Focus,
    /// The chosen job of each list, and where it stands there.
    running: Choice,
    failed: Choice,
    mode: Mode,
    tail: Tail,
    note: Option<Note>,
    /// The command that has no answer yet.
    unanswered: Option<Command>,
    paused: Option<RecentChange<bool>>,
    slots: Option<RecentChange<u32>>,
}

/// The chosen job of a list.
#[derive(Debug, Default)]
struct Choice {
    id: Option<JobKey>,
    at: usize,
}

impl Choice {
    /// Finds the chosen job in the list as it is now. If it is gone, what stands in its place is chosen.
    fn settle<'a>(&mut self, mut ids: impl ExactSizeIterator<Item = &'a JobKey> + Clone) {
        let count = ids.len();
        let chosen = self.id.as_ref();
        let found = chosen.and_then(|chosen| ids.clone().position(|id| id == chosen));
        self.at = found.unwrap_or(self.at).min(count.saturating_sub(1));
        self.id = ids.nth(self.at).cloned();
    }
}

impl Model {
    /// Takes note of a message, and returns what follows from it. `now` is the time since the view began.
    pub(super) fn update(&mut self, message: Message, now: Duration) -> Vec<Effect> {
        self.now = now;
        match message {
            Message::State(state) => self.take_state(*state),
            Message::Output(job, printed) => {
                if self.followed() == Some(&job) {
                    self.tail.add(&printed);
                }
                Vec::new()
            }
            Message::Answer(command, answer) => {
                self.take_answer(&command, answer);
                Vec::new()
            }
            Message::Key(key) => self.take_key(key),
            Message::Tick => Vec::new(),
        }
    }

    fn take_state(&mut self, mut state: LiveState) -> Vec<Effect> {
        RecentChange::correct(&mut self.paused, &mut state.paused);
        RecentChange::correct(&mut self.slots, &mut state.slots);
        self.state = state;
        self.heard = Some(self.now);
        self.choosing(|_| {})
    }

    fn take_answer(&mut self, command: &Command, answer: Result<(), String>) {
        if self.unanswered.as_ref() == Some(command) {
            self.unanswered = None;
        }
        if let Err(why) = answer {
            self.note = Some(Note {
                text: plain(&why).into_owned(),
                is_error: true,
            });
            return;
        }
        match command {
            Command::Pause(is_paused) => {
                self.state.paused = *is_paused;
                self.paused = Some(RecentChange::new(*is_paused));
            }
            Command::Slots(slots) => {
                self.state.slots = slots.get();
                self.slots = Some(RecentChange::new(slots.get()));
            }
            Command::Cancel(_) => {}
        }
        self.tell(command.done_message());
    }

    fn take_key(&mut self, key: Key) -> Vec<Effect> {
        self.note = None;
        match key {
            Key::Interrupt => return vec![Effect::Quit],
            Key::Suspend => return vec![Effect::Suspend],
            Key::Redraw => return vec![Effect::Redraw],
            _ => {}
        }
        match std::mem::take(&mut self.mode) {
            Mode::Normal => self.take_normal_key(key),
            Mode::Help => Vec::new(),
            Mode::ConfirmCancel(job) => {
                if key == Key::Char('y') {
                    return self.send(Command::Cancel(job));
                }
                self.tell("nothing was cancelled");
                Vec::new()
            }
            Mode::TypeSlots(typed) => self.take_typed(typed, key),
        }
    }

    fn take_normal_key(&mut self, key: Key) -> Vec<Effect> {
        let slots = self.state.slots;
        match key {
            Key::Char('q') | Key::Escape => return vec![Effect::Quit],
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Up | Key::Char('k') => return self.choosing(|at| *at = at.saturating_sub(1)),
            Key::Down | Key::Char('j') => return self.choosing(|at| *at += 1),
            Key::PageUp => return self.choosing(|at| *at = at.saturating_sub(PAGE)),
            Key::PageDown => return self.choosing(|at| *at += PAGE),
            Key::Home => return self.choosing(|at| *at = 0),
            Key::End => return self.choosing(|at| *at = usize::MAX),
            Key::Tab => {
                self.focus = match self.focus {
                    Focus::Running => Focus::Failed,
                    Focus::Failed => Focus::Running,
                };
                return self.follow_anew();
            }
            Key::Char('p' | ' ') if self.heard.is_some() => {
                return self.send(Command::Pause(!self.state.paused));
            }
            Key::Char('+' | '=') => {
                if let Some(more) = NonZeroU32::new(slots.saturating_add(1)).filter(|_| slots > 0) {
                    return self.send(Command::Slots(more));
                }
            }
            Key::Char('-') => match NonZeroU32::new(slots.saturating_sub(1)) {
                Some(fewer) => return self.send(Command::Slots(fewer)),
                None => self.tell("a run has at least one slot; p pauses it"),
            },
            Key::Char('s') => self.mode = Mode::TypeSlots(String::new()),
            Key::Char('c') => match (self.focus, &self.running.id) {
                (Focus::Running, Some(job)) => self.mode = Mode::ConfirmCancel(job.clone()),
                (Focus::Running, None) => self.tell("no job runs that could be cancelled"),
                (Focus::Failed, _) => self.tell("this job has ended; Tab goes to those that run"),
            },
            _ => self.tell("? lists the keys"),
        }
        Vec::new()
    }

    /// Takes a key while a number of slots is typed.
    fn take_typed(&mut self, mut typed: String, key: Key) -> Vec<Effect> {
        match key {
            Key::Char(digit) if digit.is_ascii_digit() && typed.len() < DIGITS => typed.push(digit),
            Key::Backspace => {
                typed.pop();
            }
            Key::Escape => return Vec::new(),
            Key::Enter => {
                if let Ok(slots) = typed.parse() {
                    return self.send(Command::Slots(slots));
                }
                self.tell("a run has at least one slot; p pauses it");
                return Vec::new();
            }
            _ => {}
        }
        self.mode = Mode::TypeSlots(typed);
        Vec::new()
    }

    /// Sends a command, unless one is on its way: the next one may depend on its answer.
    fn send(&mut self, command: Command) -> Vec<Effect> {
        if let Some(unanswered) = &self.unanswered {
            let text = format!("the run has not answered yet: {}", unanswered.description());
            self.tell(text);
            return Vec::new();
        }
        self.unanswered = Some(command.clone());
        vec![Effect::Send(command)]
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.note = Some(Note {
            text: text.into(),
            is_error: false,
        });
    }

    /// Changes which job is chosen, and follows it.
    fn choosing(&mut self, change: impl FnOnce(&mut usize)) -> Vec<Effect> {
        let before = self.followed().cloned();
        let choice = match self.focus {
            Focus::Running => &mut self.running,
            Focus::Failed => &mut self.failed,
        };
        let was_at = choice.at;
        change(&mut choice.at);
        if choice.at != was_at {
            // Otherwise the job would be looked for, and found where it was.
            choice.id = None;
        }
        let Self {
            state,
            running,
            failed,
            ..
        } = self;
        running.settle(state.jobs.iter().map(|job| &job.id));
        failed.settle(state.failures.iter().map(|job| &job.id));
        if self.followed() == before.as_ref() {
            return Vec::new();
        }
        self.follow_anew()
    }

    fn follow_anew(&mut self) -> Vec<Effect> {
        self.tail = Tail::default();
        vec![Effect::Follow(self.followed().cloned())]
    }

    /// Returns the running job that is chosen. The output of one that has failed is not kept by the run.
    fn followed(&self) -> Option<&JobKey> {
        match self.focus {
            Focus::Running => self.running.id.as_ref(),
            Focus::Failed => None,
        }
    }
}

/// What is drawn.
impl Model {
    /// Returns the state of the run; nothing before the first one came.
    pub(super) fn state(&self) -> Option<&LiveState> {
        self.heard.map(|_| &self.state)
    }

    /// Returns how long the run has been silent, if that is remarkable.
    pub(super) fn silence(&self) -> Option<Duration> {
        let silence = self.now.saturating_sub(self.heard.unwrap_or_default());
        (silence >= SILENCE).then_some(silence)
    }

    /// Returns the list in which a job is chosen.
    pub(super) fn focus(&self) -> Focus {
        self.focus
    }

    /// Returns the index of the chosen job in a list.
    pub(super) fn chosen(&self, list: Focus) -> usize {
        match list {
            Focus::Running => self.running.at,
            Focus::Failed => self.failed.at,
        }
    }

    /// Returns what keys do now.
    pub(super) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Returns what the chosen job has printed.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Returns what was done last.
    pub(super) fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    /// Returns the command that has no answer yet.
    pub(super) fn unanswered(&self) -> Option<&Command> {
        self.unanswered.as_ref()
    }
}

#[cfg(test)]
mod tests;
