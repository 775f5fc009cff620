//! The commands that the view gives to a run.

use std::num::NonZeroU32;

use ratchet_runtime::JobKey;

use crate::escape::plain;
use crate::live::{AskError, CancelEffect, LiveClient, Question};

/// A command to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Cancel a job.
    Cancel(JobKey),
    /// Pause the run, or let it go on.
    Pause(bool),
    /// Change how many jobs run at once.
    Slots(NonZeroU32),
}

impl Command {
    /// Gives the command, and waits until it is obeyed or refused.
    pub(super) fn give(&self, client: &mut LiveClient) -> Result<(), AskError> {
        match self {
            Self::Cancel(job) => {
                let jobs = vec![job.clone()];
                let _: Vec<CancelEffect> = client.ask(&Question::Cancel { jobs })?;
            }
            Self::Pause(true) => {
                let _: bool = client.ask(&Question::Pause)?;
            }
            Self::Pause(false) => {
                let _: bool = client.ask(&Question::Continue)?;
            }
            Self::Slots(slots) => {
                let jobs = Some(*slots);
                let limits = Vec::new();
                let _: Vec<String> = client.ask(&Question::Set { jobs, limits })?;
            }
        }
        Ok(())
    }

    /// Returns what is wanted, in words.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Cancel(job) => format!("cancel {}", plain(job.as_str())),
            Self::Pause(true) => "pause".to_owned(),
            Self::Pause(false) => "continue".to_owned(),
            Self::Slots(slots) => format!("{slots} slots"),
        }
    }

    /// Returns what was done, as a sentence.
    pub(super) fn done_message(&self) -> String {
        match self {
            Self::Cancel(job) => format!("{} is asked to stop, or has ended", plain(job.as_str())),
            Self::Pause(true) => {
                "the run is paused: what runs goes on, and nothing starts".to_owned()
            }
            Self::Pause(false) => "the run goes on".to_owned(),
            Self::Slots(slots) if slots.get() == 1 => "one job runs at once from now on".to_owned(),
            Self::Slots(slots) => format!("{slots} jobs run at once from now on"),
        }
    }
}
