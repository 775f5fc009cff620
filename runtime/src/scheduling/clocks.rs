//! The clocks that tell how long groups and lanes have waited for what; `scheduler/accounting.rs` says how they run.

/// The places of the clocks that every group has.
pub(super) const ADMISSION: usize = 0;
/// The place of the clock of a free worker.
pub(super) const WORKER: usize = 1;
/// The place of the clock of free slots.
pub(super) const SLOT: usize = 2;
/// The place of the clock of a connected host.
pub(super) const CONNECT: usize = 3;

/// The clocks of a group, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Clocks {
    /// One for each limit of the group, in the order of the limits; empty as long as all of them show 0.
    pub(super) limits: Box<[u64]>,
    /// The clocks of admission, workers, slots and connections, at the places above.
    pub(super) others: [u64; 4],
}

impl Clocks {
    /// How much more these clocks show than earlier ones of the same group.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |number: usize| earlier.limits.get(number).copied().unwrap_or_default();
        let limits = self.limits.iter().enumerate();
        Self {
            limits: limits.map(|(number, time)| time - before(number)).collect(),
            others: std::array::from_fn(|at| self.others[at] - earlier.others[at]),
        }
    }

    /// Adds what other clocks show.
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

    /// Returns what all clocks show together.
    pub(super) fn sum(&self) -> u64 {
        self.limits.iter().chain(&self.others).sum()
    }
}

/// The clock of a lane that has a place.
#[derive(Debug, Default)]
pub(super) struct PlaceClock {
    /// The time, without the present stop, for which the place has let nobody of the lane pass.
    pub(super) shown: u64,
    /// What clocks of the group have shown more in that time: for this lane they stood still.
    pub(super) instead_of: Clocks,
    /// What the clocks of the group showed when the present stop began, if there is one.
    pub(super) stopped_at: Option<Clocks>,
}
