//! The state of a play in progress.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use minijinja::Value;

use super::frame::Frame;
use super::handlers::Handlers;
use super::host_run::{HostRun, HostState};
use super::role_names::RoleNames;
use super::scope::PlayVariables;
use super::stages::Stage;
use super::start_at::StartAt;
use crate::language::Play;

/// A play in progress.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags are independent of each other"
)]
pub(super) struct PlayRun {
    pub(super) play: Arc<Play>,
    pub(super) number: usize,
    pub(super) frame: Arc<Frame>,
    pub(super) stages: Arc<[Stage]>,
    pub(super) role_names: RoleNames,
    pub(super) handlers: Handlers,
    pub(super) variables: PlayVariables,
    pub(super) strategy: Strategy,
    /// The task at which the next batch starts.
    pub(super) start_at: Option<StartAt>,
    /// The batches that come later.
    pub(super) batches: VecDeque<Vec<String>>,
    /// All hosts that the play selects, with those that earlier plays have lost, in the order of the inventory.
    pub(super) all: Vec<String>,
    /// The hosts of this batch in their order.
    pub(super) batch: Vec<String>,
    pub(super) hosts: HashMap<String, HostRun>,
    /// The hosts on which the task that runs now, or that ran last, has failed, with those that could not be reached. Only
    /// the strategy `linear` needs them.
    pub(super) failed_in_task: BTreeSet<String>,
    /// Whether these failures fail all other hosts of the batch, too, because of `any_errors_fatal`.
    pub(super) fails_all_hosts: bool,
    /// Whether such a failure has failed all hosts of the batch. Some of them may have recovered from it.
    pub(super) has_failed_on_all_hosts: bool,
    /// Whether a failure ends the play for all hosts of the batch.
    pub(super) is_stopped: bool,
    /// Whether the play is over because of `end_play`.
    pub(super) is_ended: bool,
    pub(super) is_forced: bool,
    pub(super) most_failures: Option<f64>,
}

/// How the hosts of a batch go through a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    Linear,
    Free,
    /// At most as many hosts as there are slots are in the play at once, and each proceeds on its own.
    Pinned,
}

impl PlayRun {
    /// Whether this many failed hosts end the play.
    pub(super) fn is_too_many(&self, failed: usize) -> bool {
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are far fewer hosts than 2^52"
        )]
        self.most_failures
            .is_some_and(|most| failed as f64 * 100.0 / self.batch.len().max(1) as f64 > most)
    }

    /// Updates the variables that list the hosts which are still in the play. `all` are those of the whole play that
    /// are not known to have left it.
    pub(super) fn tell_hosts(&mut self, all: &[String]) {
        let is_left = |name: &&String| {
            self.hosts.get(*name).is_none_or(|host| {
                matches!(host.state, HostState::Going | HostState::Ended) && !host.has_left
            })
        };
        let batch: Vec<_> = self.batch.iter().filter(is_left).cloned().collect();
        let all: Vec<_> = all.iter().filter(is_left).cloned().collect();
        let magic = Arc::make_mut(&mut self.variables.magic);
        for name in ["ansible_play_batch", "play_hosts"] {
            magic.insert(name.to_owned(), Value::from(batch.clone()));
        }
        magic.insert("ansible_play_hosts".to_owned(), Value::from(all));
    }
}
