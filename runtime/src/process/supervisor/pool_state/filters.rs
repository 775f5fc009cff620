//! Filters: how many items they may be sent ahead, and when their input ends.

use std::time::Instant;

use super::PoolState;
use crate::dispatch::{Demand, FilterNews, Order, Report, Retirement, WorkerNumber};
use crate::process::Language;

/// What was said to the filters of a pool, and of them.
#[derive(Debug, Default)]
pub(super) struct ToldFilters {
    /// They know that nothing more comes for them.
    pub(super) last: bool,
    /// It was said that they answer nothing.
    silent: bool,
}

impl PoolState {
    fn has_filters(&self) -> bool {
        matches!(self.config.language, Language::Lines { .. })
    }

    /// A connection has found out something about its filter.
    pub(in crate::process::supervisor) fn filter_changed(
        &mut self,
        number: WorkerNumber,
        news: FilterNews,
        now: Instant,
    ) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        worker.filter.learn(news);
        self.seats.filter_changed(number, news);
        self.tell(|kind| Report::Filter {
            kind,
            worker: number,
            news,
        });
        if matches!(news, FilterNews::Silent { .. }) {
            self.tell_silent();
        }
        self.hand_out(now);
    }

    /// Says once that filters of this pool may buffer their output: they all run the same program.
    fn tell_silent(&mut self) {
        if !std::mem::replace(&mut self.told_filters.silent, true) {
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
        let is_last = self.demand == Demand::Last;
        if !self.has_filters() || std::mem::replace(&mut self.told_filters.last, is_last) == is_last
        {
            return;
        }
        for worker in &self.workers {
            worker.order(Order::Last(is_last));
        }
    }

    /// Filters that nobody needs any more are ended at once: the end of their output tells whether the last answer
    /// was one, and a run waits for that.
    pub(super) fn retire_filters(&mut self, now: Instant) {
        let is_over = matches!(self.demand, Demand::Over | Demand::Killed);
        if !self.has_filters() || !is_over || !self.rests() {
            return;
        }
        let idle = self.workers.iter().filter(|one| one.idle_since().is_some());
        let idle: Vec<_> = idle.map(|worker| worker.number).collect();
        for number in idle {
            self.retire(number, Retirement::Shutdown, now);
        }
    }
}
