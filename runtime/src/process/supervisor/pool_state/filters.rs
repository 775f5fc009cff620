//! The part of a pool that serves filters: it sends silent ones more items ahead, and announces when no more items
//! come.

use std::time::Instant;

use super::PoolState;
use crate::dispatch::{Demand, FilterChange, Order, Report, Retirement, WorkerNumber};
use crate::process::WorkerProtocol;

/// The last order that was sent to the filters of a pool, and whether a warning was logged for them.
#[derive(Debug, Default)]
pub(super) struct FilterNotices {
    /// The last order to the filters was that no more items come.
    pub(super) last: bool,
    /// The warning that they may buffer their output was logged.
    silent: bool,
    /// The warning that one of them may have left out a line was logged.
    stalled: bool,
}

impl PoolState {
    fn has_filters(&self) -> bool {
        matches!(self.config.language, WorkerProtocol::Lines { .. })
    }

    /// Handles what a connection has found out about its filter.
    pub(in crate::process::supervisor) fn filter_changed(
        &mut self,
        number: WorkerNumber,
        change: FilterChange,
        now: Instant,
    ) {
        self.known_worker(number).filter.apply(change);
        self.seats.filter_changed(number, change);
        self.report(|pool| Report::Filter {
            pool,
            worker: number,
            change,
        });
        match change {
            FilterChange::Silent { .. } => self.warn_silent(),
            FilterChange::Stalled => self.tell_stalled(),
            FilterChange::Aligned | FilterChange::Unaligned => {}
        }
        self.assign_waiting(now);
    }

    /// Warns once that the filters of this pool may buffer their output. They all run the same program.
    fn warn_silent(&mut self) {
        if !std::mem::replace(&mut self.filter_notices.silent, true) {
            tracing::warn!(
                "`{}` has printed nothing for two seconds since its first item: it may buffer its output. Make it \
                 print each line at once (-u, --unbuffered, --line-buffered, or `stdbuf -oL` before the command); \
                 meanwhile it is sent more items, and its input ends when there are no more",
                self.config.name
            );
        }
    }

    /// Warns once that a filter of this pool may have left out a line.
    fn tell_stalled(&mut self) {
        if !std::mem::replace(&mut self.filter_notices.stalled, true) {
            tracing::warn!(
                "`{}` has answered in time before, and now prints nothing for its item: it may have left out that line. If it \
                 goes on so, its input is closed, and another one takes the items that are left. A filter has to answer each line with one line: let it print an \
                 empty line instead, give items a timeout (--timeout), or leave out --warm (`protocol: lines`)",
                self.config.name
            );
        }
    }

    /// Orders the filters to expect no more items when none will come: one that buffers prints the rest once its input
    /// ends.
    pub(super) fn announce_last_items(&mut self) {
        let is_last = self.demand == Demand::Last;
        if !self.has_filters()
            || std::mem::replace(&mut self.filter_notices.last, is_last) == is_last
        {
            return;
        }
        for worker in &self.workers {
            worker.order(Order::Last(is_last));
        }
    }

    /// Ends unneeded filters at once. Only the end of their output confirms the last answer, and a run waits for that.
    pub(super) fn retire_filters(&mut self, now: Instant) {
        let is_over = matches!(self.demand, Demand::Over | Demand::Killed);
        if !self.has_filters() || !is_over || !self.needs_no_worker() {
            return;
        }
        let idle = self.workers.iter().filter(|one| one.idle_since().is_some());
        let idle: Vec<_> = idle.map(|worker| worker.number).collect();
        for number in idle {
            self.retire(number, Retirement::Shutdown, now);
        }
    }
}
