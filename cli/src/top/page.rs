//! Shows a page on the terminal, until it ends by itself or by a signal.

use std::future::pending;
use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{Event, read};
use rustix::process::{Signal as Sent, getpgrp, getpid, kill_process, kill_process_group};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::connection::News;
use super::key::Key;
use super::screen::{Screen, restore};
use crate::exit;
use crate::session::is_under_job_control;

/// How often a page is drawn although nothing has happened.
const TICK: Duration = Duration::from_secs(1);

/// How many keys wait at most. Whoever types more has to wait.
const KEYS: usize = 64;

/// What a page is told.
#[derive(Debug)]
pub(super) enum Input {
    /// A key was typed.
    Key(Key),
    /// The connection tells something.
    News(News),
    /// Time has passed, or the terminal has another size.
    Tick,
}

/// What follows from an input.
#[derive(Debug, PartialEq)]
pub(super) enum Flow<E> {
    /// The page is drawn.
    Stay,
    /// The page is drawn on a terminal of which nothing is known.
    Redraw,
    /// This process is stopped, as Ctrl-Z asks for.
    Suspend,
    /// The page ends.
    End(E),
}

/// What is shown on the whole terminal.
pub(super) trait Page {
    /// How it ends.
    type End;

    /// Draws it.
    fn draw(&self, frame: &mut Frame<'_>);

    /// Takes an input. `now` is the time since the pages began.
    fn take(&mut self, input: Input, now: Duration) -> Flow<Self::End>;
}

/// How showing a page has ended.
pub(super) enum Shown<E> {
    /// The page has ended.
    Ended(E),
    /// A signal has ended it, which gives this exit code.
    Signal(u8),
}

/// Where inputs come from: the keys of the terminal, signals and time.
pub(super) struct Inputs {
    began: Instant,
    keys: Receiver<Option<Key>>,
    ends: [(Signal, u8); 3],
    stop: Signal,
    continued: Signal,
    tick: Interval,
}

/// What has happened.
enum InputEvent {
    Input(Input),
    Stop,
    Continued,
    End(u8),
    /// The terminal gives no more keys.
    Deaf,
}

impl Inputs {
    /// Begins to read keys, on a thread of its own, and to receive signals.
    pub(super) fn open() -> io::Result<Self> {
        let (send, keys) = mpsc::channel(KEYS);
        let receive = |kind| signal(kind);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let inputs = Self {
            began: Instant::now(),
            keys,
            ends: [
                (receive(SignalKind::interrupt())?, exit::INTERRUPTED),
                (receive(SignalKind::terminate())?, exit::TERMINATED),
                (receive(SignalKind::hangup())?, exit::TERMINATED),
            ],
            stop: receive(SignalKind::from_raw(Sent::TSTP.as_raw()))?,
            continued: receive(SignalKind::from_raw(Sent::CONT.as_raw()))?,
            tick,
        };
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while let Ok(event) = read() {
                    let key = match event {
                        Event::Key(key) => match Key::of(key) {
                            Some(key) => Some(key),
                            None => continue,
                        },
                        Event::Resize(..) => None,
                        _ => continue,
                    };
                    if send.blocking_send(key).is_err() {
                        return;
                    }
                }
            })?;
        Ok(inputs)
    }

    async fn next(&mut self, news: Option<&mut Receiver<News>>) -> InputEvent {
        let [interrupt, terminate, hangup] = &mut self.ends;
        let news = async {
            match news {
                Some(news) => news.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(()) = interrupt.0.recv() => InputEvent::End(interrupt.1),
            Some(()) = terminate.0.recv() => InputEvent::End(terminate.1),
            Some(()) = hangup.0.recv() => InputEvent::End(hangup.1),
            Some(()) = self.stop.recv() => InputEvent::Stop,
            Some(()) = self.continued.recv() => InputEvent::Continued,
            key = self.keys.recv() => match key {
                Some(Some(key)) => InputEvent::Input(Input::Key(key)),
                Some(None) => InputEvent::Input(Input::Tick),
                None => InputEvent::Deaf,
            },
            news = news => InputEvent::Input(Input::News(news.unwrap_or_else(|| {
                // The thread tells why it ends, unless it panics.
                News::Broken(io::Error::other("the thread that asks it has ended"))
            }))),
            _ = self.tick.tick() => InputEvent::Input(Input::Tick),
        }
    }
}

/// Shows a page until it ends.
pub(super) async fn show<P: Page>(
    page: &mut P,
    screen: &mut Screen,
    inputs: &mut Inputs,
    mut news: Option<&mut Receiver<News>>,
) -> io::Result<Shown<P::End>> {
    loop {
        screen.draw(|frame| page.draw(frame))?;
        let input = match inputs.next(news.as_deref_mut()).await {
            InputEvent::Input(input) => input,
            InputEvent::End(code) => return Ok(Shown::Signal(code)),
            InputEvent::Deaf => {
                return Err(io::Error::other("no keys can be read from the terminal"));
            }
            InputEvent::Stop => {
                // Without a shell that could continue it, this process would be stopped for ever.
                if is_under_job_control() {
                    restore();
                    kill_process(getpid(), Sent::STOP)?;
                }
                continue;
            }
            InputEvent::Continued => {
                screen.show()?;
                continue;
            }
        };
        match page.take(input, inputs.began.elapsed()) {
            Flow::Stay => {}
            Flow::Redraw => screen.clear()?,
            // As the terminal does it: also what started this process is stopped, and the signal comes back here.
            Flow::Suspend => kill_process_group(getpgrp(), Sent::TSTP)?,
            Flow::End(end) => return Ok(Shown::Ended(end)),
        }
    }
}
