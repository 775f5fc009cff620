//! The clocks that measure how long groups and lanes have waited for what; `scheduler/accounting.rs` describes when
//! each runs.

/// The index of the clock of admission. Every group has this clock and the following ones.
pub(super) const ADMISSION: usize = 0;
/// The index of the clock of a free worker.
pub(super) const WORKER: usize = 1;
/// The index of the clock of free slots.
pub(super) const SLOT: usize = 2;
/// The index of the clock of a connected host.
pub(super) const CONNECT: usize = 3;

/// The clocks of a group, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Clocks {
    /// One clock for each limit of the group, in the order of the limits, and then one for each resource that the caller
    /// of the scheduler counts; empty while all of them show 0.
    pub(super) limits: Box<[u64]>,
    /// The clocks of admission, workers, slots and connections, at the indices above.
    pub(super) others: [u64; 4],
}

impl Clocks {
    /// Returns how much these clocks have advanced since earlier ones of the same group.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |number: usize| earlier.limits.get(number).copied().unwrap_or_default();
        let limits = self.limits.iter().enumerate();
        Self {
            limits: limits.map(|(number, time)| time - before(number)).collect(),
            others: std::array::from_fn(|at| self.others[at] - earlier.others[at]),
        }
    }

    /// Adds the times of other clocks.
    pub(super) fn add(&mut self, more: &Self) {
        if self.limits.len() < more.limits.len() {
            let mut limits = std::mem::take(&mut self.limits).into_vec();
            limits.resize(more.limits.len(), 0);
            self.limits = limits.into();
        }
        for (time, more) in self.limits.iter_mut().zip(&more.limits) {
            *time += more;
        }
        for (time, more) in self.others.iter_mut().zip(&more.others) {
            *time += more;
        }
    }

    /// Returns the sum of all clocks.
    pub(super) fn sum(&self) -> u64 {
        self.limits.iter().chain(&self.others).sum()
    }
}

/// The clock of the place (host or rate key) of a lane.
#[derive(Debug, Default)]
pub(super) struct PlaceClock {
    /// How long the place has blocked the lane, without the present stop.
    pub(super) shown: u64,
    /// How much the clocks of the group advanced in that time. For this lane that time does not count on them.
    pub(super) instead_of: Clocks,
    /// The clocks of the group when the present stop began; `None` if the lane is not blocked.
    pub(super) stopped_at: Option<Clocks>,
}
