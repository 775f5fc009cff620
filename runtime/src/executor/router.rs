//! Sends each attempt to the crew that can do it.

use super::crew::{Assignment, Crew, Prospect, Stop};
use crate::scheduling::{Kind, Ticket};

/// The crews of a run, by the kinds of their workers.
pub(super) struct Router {
    crews: Vec<Box<dyn Crew>>,
    /// By kind, whose it is.
    whose: Vec<usize>,
}

impl Router {
    pub(super) fn new() -> Self {
        Self {
            crews: Vec::new(),
            whose: Vec::new(),
        }
    }

    /// Adds a crew with so many kinds, which follow those that were added before.
    pub(super) fn add(&mut self, crew: Box<dyn Crew>, kinds: usize) {
        self.whose
            .extend(std::iter::repeat_n(self.crews.len(), kinds));
        self.crews.push(crew);
    }

    pub(super) fn start(&mut self, assignment: Assignment) {
        if let Some(crew) = self.of(assignment.kind) {
            crew.start(assignment);
        }
    }

    pub(super) fn stop(&mut self, kind: Kind, ticket: Ticket, stop: Stop) {
        if let Some(crew) = self.of(kind) {
            crew.stop(ticket, stop);
        }
    }

    pub(super) fn expect(&mut self, kind: Kind, prospect: Prospect) {
        if let Some(crew) = self.of(kind) {
            crew.expect(kind, prospect);
        }
    }

    /// Jobs are resolved to kinds that were added, so there is somebody.
    fn of(&mut self, kind: Kind) -> Option<&mut Box<dyn Crew>> {
        let whose = *self.whose.get(usize::from(kind.0))?;
        self.crews.get_mut(whose)
    }
}
