//! What the driver does to a host while it works: it stops it, lets it start nothing for a while, and edits the script.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::super::notes::{Fact, NoteWriter};
use super::super::plan::{self, Chance};
use super::super::script::{self, Edit};
use super::super::shortage::Shortage;

type Failed = Box<dyn Error>;

/// The least and the most of a time that is left to chance, in milliseconds.
type Span = [u32; 2];

/// How long a life goes on before the first edit, and between one and the next.
const BEFORE_EDIT: Span = [0, 600];
const BETWEEN_EDITS: Span = [200, 600];

/// How long a life goes on before the first stop, and between one and the next.
const BEFORE_STOP: Span = [200, 600];
const BETWEEN_STOPS: Span = [500, 3000];

/// How long a host is stopped: about as long as attempts may take, so that their timeouts are over by little or by much.
const STOP: Span = [300, 900];

/// How long a life goes on before the first shortage, and between one and the next.
const BEFORE_SHORTAGE: Span = [200, 700];
const BETWEEN_SHORTAGES: Span = [1500, 4000];

/// How long a shortage lasts: a busy pool loses most of its workers in that time.
const SHORTAGE: Span = [200, 600];

/// The script, and who writes down how it is edited.
pub(super) struct Editor {
    path: PathBuf,
    content: u32,
    notes: NoteWriter,
}

impl Editor {
    pub(super) fn new(path: PathBuf, notes: NoteWriter) -> Result<Self, Failed> {
        let mut editor = Self {
            path,
            content: 0,
            notes,
        };
        editor.write(Edit::Renamed)?;
        Ok(editor)
    }

    /// Gives the script another content.
    pub(super) fn edit(&mut self, chance: &mut Chance) -> Result<(), Failed> {
        self.content = (self.content + 1) % plan::CONTENTS;
        self.write(if chance.below(2) == 0 {
            Edit::InPlace
        } else {
            Edit::Renamed
        })
    }

    fn write(&mut self, how: Edit) -> Result<(), Failed> {
        self.notes.note(Fact::Edits(self.content))?;
        script::edit(&self.path, self.content, how)?;
        self.notes.note(Fact::Edited(self.content))?;
        Ok(())
    }
}

/// Something that begins, lasts for a while, ends, and begins again.
struct Recurring {
    lasts: Span,
    between: Span,
    /// When it began, if it is on.
    since: Option<Instant>,
    /// When that changes.
    changes: Instant,
}

impl Recurring {
    fn new(now: Instant, chance: &mut Chance, first: Span, lasts: Span, between: Span) -> Self {
        Self {
            lasts,
            between,
            since: None,
            changes: now + chance.between(first),
        }
    }

    /// Whether it begins now, or ends after so long.
    fn change(&mut self, now: Instant, chance: &mut Chance) -> Option<Change> {
        if now < self.changes {
            return None;
        }
        Some(match self.since.take() {
            None => {
                self.since = Some(now);
                self.changes = now + chance.between(self.lasts);
                Change::Begins
            }
            Some(since) => {
                self.changes = now + chance.between(self.between);
                Change::Ends(now - since)
            }
        })
    }
}

enum Change {
    Begins,
    Ends(Duration),
}

/// What happens to a host in one life.
pub(super) struct Disturbances<'a> {
    host: Pid,
    chance: Chance,
    notes: NoteWriter,
    shortage: &'a Shortage,
    editor: &'a mut Editor,
    next_edit: Option<Instant>,
    /// Stops and shortages. A host that can start nothing when it begins says so and ends, so they come later.
    recurring: Option<(Recurring, Recurring)>,
}

impl<'a> Disturbances<'a> {
    pub(super) fn of(
        host: Pid,
        chance: Chance,
        notes: NoteWriter,
        shortage: &'a Shortage,
        editor: &'a mut Editor,
    ) -> Self {
        Self {
            host,
            chance,
            notes,
            shortage,
            editor,
            next_edit: None,
            recurring: None,
        }
    }

    /// Edits the script if that is due.
    pub(super) fn edit(&mut self) -> Result<(), Failed> {
        let now = Instant::now();
        let chance = &mut self.chance;
        let due = *self
            .next_edit
            .get_or_insert_with(|| now + chance.between(BEFORE_EDIT));
        if now >= due {
            self.editor.edit(chance)?;
            self.next_edit = Some(now + chance.between(BETWEEN_EDITS));
        }
        Ok(())
    }

    /// Stops and continues the host, and begins and ends a shortage, if that is due.
    pub(super) fn hold_up(&mut self) -> Result<(), Failed> {
        let now = Instant::now();
        let chance = &mut self.chance;
        let (stop, short) = self.recurring.get_or_insert_with(|| {
            (
                Recurring::new(now, chance, BEFORE_STOP, STOP, BETWEEN_STOPS),
                Recurring::new(now, chance, BEFORE_SHORTAGE, SHORTAGE, BETWEEN_SHORTAGES),
            )
        });
        match stop.change(now, chance) {
            Some(Change::Begins) => kill_process(self.host, Signal::STOP)?,
            Some(Change::Ends(after)) => {
                kill_process(self.host, Signal::CONT)?;
                self.notes
                    .note(Fact::Stopped(u32::try_from(after.as_millis())?))?;
            }
            None => {}
        }
        match short.change(now, chance) {
            Some(Change::Begins) => self.shortage.begin(self.host)?,
            Some(Change::Ends(after)) => {
                self.shortage.end(self.host)?;
                self.notes
                    .note(Fact::Short(u32::try_from(after.as_millis())?))?;
            }
            None => {}
        }
        Ok(())
    }
}
