//! Filters: how many items they may be sent ahead, and when their input ends.

use std::time::Instant;

use super::super::member::Member;
use super::{Roster, retire};
use crate::executor::crew::Prospect;
use crate::process::pool::Estimate;
use crate::process::{Language, PoolConfig};
use crate::worker::Retirement;
use crate::worker::orders::{FilterNews, Order};
use crate::worker::state::WorkerState;

/// What was said to the filters of a kind, and of them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// They know that nothing more comes for them.
    pub(super) last: bool,
    /// It was said that they answer nothing.
    silent: bool,
}

/// How many jobs to send to a worker ahead of what it works on.
pub(super) fn ahead(member: &Member, config: &PoolConfig, estimate: &Estimate) -> u32 {
    let filter = &member.filter;
    // The first answer of a filter tells whether its lines can be counted at all, so nothing follows it closely.
    if matches!(config.language, Language::Lines { .. }) && !filter.is_proven {
        return filter.silent_ahead;
    }
    let wanted = estimate.ahead(config, member.concurrency, member.gives_back);
    wanted.max(filter.silent_ahead)
}

impl Roster {
    fn has_filters(&self) -> bool {
        matches!(self.config.language, Language::Lines { .. })
    }

    /// A connection has found out something about its filter.
    pub(in crate::process::supervisor) fn hear_of_filter(
        &mut self,
        number: u64,
        news: FilterNews,
        now: Instant,
    ) {
        let Some(member) = self.member(number) else {
            return;
        };
        match news {
            FilterNews::Proven => member.filter.is_proven = true,
            FilterNews::Unproven => member.filter.is_proven = false,
            FilterNews::Silent { ahead } => {
                member.filter.silent_ahead = ahead;
                self.tell_silent();
            }
        }
        self.hand_out(now);
    }

    /// Says once that filters of this kind may buffer their output: they all run the same program.
    fn tell_silent(&mut self) {
        if !std::mem::replace(&mut self.told.silent, true) {
            tracing::warn!(
                "`{}` has printed nothing for two seconds since its first item: it may buffer its output. Make it \
                 print each line at once (-u, --unbuffered, --line-buffered, or `stdbuf -oL` before the command); \
                 meanwhile it is sent more items, and its input ends when there are no more",
                self.config.name
            );
        }
    }

    /// Filters learn when nothing more comes for them: one that buffers prints the rest when its input ends.
    pub(super) fn tell_filters(&mut self) {
        let is_last = self.prospect == Prospect::Last;
        if !self.has_filters() || std::mem::replace(&mut self.told.last, is_last) == is_last {
            return;
        }
        for member in &self.members {
            member.order(Order::Last(is_last));
        }
    }

    /// Filters that nobody needs any more are ended at once: the end of their output tells whether the last answer
    /// was one, and an executor waits for that.
    pub(super) fn retire_filters(&mut self, now: Instant) {
        let is_over = matches!(self.prospect, Prospect::Over | Prospect::Killed);
        if !self.has_filters() || !is_over || !self.rests() {
            return;
        }
        let is_idle = |member: &Member| matches!(member.state, WorkerState::Ready { .. });
        for member in self.members.iter_mut().filter(|member| is_idle(member)) {
            retire(member, Retirement::Shutdown, now);
        }
    }
}
