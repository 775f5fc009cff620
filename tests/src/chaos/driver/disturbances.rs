//! Disturbs a host while it works: stops it, keeps it from starting anything for a while, and edits the script.

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

/// The least and the greatest value of a random time, in milliseconds.
type Span = [u32; 2];

/// The time before the first edit of a life.
const BEFORE_EDIT: Span = [0, 600];

/// The time between two edits.
const BETWEEN_EDITS: Span = [200, 600];

/// The time before the first stop of a life.
const BEFORE_STOP: Span = [200, 600];

/// The time between two stops.
const BETWEEN_STOPS: Span = [500, 3000];

/// How long a host is stopped. This is about as long as attempts may take, so that their timeouts are exceeded by
/// little or by much.
const STOP: Span = [300, 900];

/// The time before the first shortage of a life.
const BEFORE_SHORTAGE: Span = [200, 700];

/// The time between two shortages.
const BETWEEN_SHORTAGES: Span = [1500, 4000];

/// How long a shortage lasts. A busy pool loses most of its workers in that time.
const SHORTAGE: Span = [200, 600];

/// Edits the script, and notes each edit.
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

/// A disturbance that begins, lasts for a while, ends, and begins again.
struct Recurring {
    lasts: Span,
    between: Span,
    /// When the disturbance began, if it is in progress.
    since: Option<Instant>,
    /// When it begins or ends next.
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

    /// Returns the beginning or the end of the disturbance, if one is due now.
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

/// The beginning of a disturbance, or its end after a time.
enum Change {
    Begins,
    Ends(Duration),
}

/// The disturbances of a host in one life.
pub(super) struct Disturbances<'a> {
    host: Pid,
    chance: Chance,
    notes: NoteWriter,
    shortage: &'a Shortage,
    editor: &'a mut Editor,
    next_edit: Option<Instant>,
    /// Stops and shortages. They come only after the host has begun, because a host that cannot start anything at its
    /// beginning reports that and ends.
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

    /// Edits the script if an edit is due.
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

    /// Stops or continues the host, and begins or ends a shortage, if that is due.
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
