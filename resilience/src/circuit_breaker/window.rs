use std::time::{Duration, Instant};

use super::settings::Window;
use crate::time::saturating_add;

/// How many slices a time window has: the current one and the nine before it.
pub(super) const SLICES: u32 = 10;

/// How many calls there were, and how many of them failed or were slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// How many calls have returned with a success or a failure.
    pub(super) calls: u64,
    /// How many of them failed.
    pub(super) failures: u64,
    /// How many of them were slow according to the rule for slow calls.
    pub(super) slow: u64,
}

impl Counts {
    /// Makes the counts of a single call.
    pub(super) fn one(failed: bool, slow: bool) -> Self {
        Self {
            calls: 1,
            failures: u64::from(failed),
            slow: u64::from(slow),
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// Counts the calls of the window. Adding a call takes the same time for a window of any size.
#[derive(Debug)]
pub(super) struct SlidingWindow {
    /// The sum of all cells.
    total: Counts,
    /// A ring of calls, or of slices in a time window.
    cells: Box<[Counts]>,
    /// The index of the cell that is filled next.
    current: usize,
    /// The clock of a time window; `None` for a window of calls.
    slices: Option<Slices>,
}

/// The clock of a time window.
#[derive(Debug)]
struct Slices {
    /// How long one slice lasts.
    width: Duration,
    /// When the current slice ends; `None` before the first call.
    end: Option<Instant>,
}

impl SlidingWindow {
    /// Makes a window without calls.
    pub(super) fn new(window: Window) -> Self {
        let (cells, slices) = match window {
            Window::Calls(calls) => (calls, None),
            Window::Time(span) => (
                SLICES,
                Some(Slices {
                    width: span / SLICES,
                    end: None,
                }),
            ),
        };
        let cells = (0..cells).map(|_| Counts::default()).collect();
        Self {
            total: Counts::default(),
            cells,
            current: 0,
            slices,
        }
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self) {
        self.total = Counts::default();
        self.cells.fill(Counts::default());
        if let Some(slices) = &mut self.slices {
            slices.end = None;
        }
    }

    /// Adds a call, and drops those that leave the window because of it.
    pub(super) fn push(&mut self, call: Counts, now: Instant) {
        self.slide_to(now);
        match &mut self.slices {
            Some(slices) => {
                slices
                    .end
                    .get_or_insert_with(|| saturating_add(now, slices.width));
            }
            None => self.step(),
        }
        self.cells[self.current].add(call);
        self.total.add(call);
    }

    /// Returns the counts of the calls that are in the window at `now`.
    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.slide_to(now);
        self.total
    }

    /// Moves to the next cell of the ring, and clears its old counts.
    fn step(&mut self) {
        self.current += 1;
        if self.current == self.cells.len() {
            self.current = 0;
        }
        self.total
            .subtract(std::mem::take(&mut self.cells[self.current]));
    }

    /// Clears the slices that have left a time window.
    ///
    /// Threads may read their clocks in one order and take the lock in another. So a time before the current slice
    /// counts as the current slice.
    fn slide_to(&mut self, now: Instant) {
        let Some(slices) = &mut self.slices else {
            return;
        };
        let Some(end) = slices.end else { return };
        if now < end {
            return;
        }
        let steps = (now - end).as_nanos() / slices.width.as_nanos().max(1) + 1;
        let advance = slices.width.as_nanos().saturating_mul(steps);
        let advance = Duration::from_nanos(u64::try_from(advance).unwrap_or(u64::MAX));
        slices.end = Some(saturating_add(end, advance));
        for _ in 0..steps.min(u128::from(SLICES)) {
            self.step();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recount<'a>(calls: impl IntoIterator<Item = &'a Counts>) -> Counts {
        calls.into_iter().fold(Counts::default(), |mut sum, call| {
            sum.add(*call);
            sum
        })
    }

    proptest! {
        #[test]
        fn a_count_window_equals_a_recount(size in 1_u32..20, calls in proptest::collection::vec(any::<(bool, bool)>(), 0..100)) {
            let now = tokio::time::Instant::now().into_std();
            let mut window = SlidingWindow::new(Window::Calls(size));
            let mut all = Vec::new();
            for (failed, slow) in calls {
                let call = Counts::one(failed, slow);
                window.push(call, now);
                all.push(call);
                let last = all.iter().rev().take(size as usize);
                prop_assert_eq!(window.counts(now), recount(last));
            }
        }

        #[test]
        fn a_time_window_equals_a_recount(
            width in 1_u64..50,
            calls in proptest::collection::vec((0_u64..200, any::<(bool, bool)>()), 0..100),
        ) {
            let start = tokio::time::Instant::now().into_std();
            let mut window = SlidingWindow::new(Window::Time(Duration::from_millis(10 * width)));
            let (mut all, mut time) = (Vec::new(), 0);
            for (index, (wait, (failed, slow))) in calls.into_iter().enumerate() {
                time += if index == 0 { 0 } else { wait };
                let now = start + Duration::from_millis(time);
                let call = Counts::one(failed, slow);
                window.push(call, now);
                all.push((time / width, call));
                let recent = all.iter().filter(|(slice, _)| time / width - slice < 10).map(|(_, call)| call);
                prop_assert_eq!(window.counts(now), recount(recent));
            }
        }
    }

    #[test]
    fn a_time_window_empties_by_itself_and_accepts_an_earlier_time() {
        let start = tokio::time::Instant::now().into_std();
        let minute = Duration::from_secs(60);
        let mut window = SlidingWindow::new(Window::Time(minute));
        window.push(Counts::one(true, false), start + minute);
        window.push(Counts::one(true, false), start);
        assert_eq!(window.counts(start + minute).calls, 2);
        assert_eq!(window.counts(start + 2 * minute), Counts::default());
        window.push(Counts::one(false, true), start + 10_000 * minute);
        assert_eq!(
            window.counts(start + 10_000 * minute),
            Counts::one(false, true)
        );
    }
}
