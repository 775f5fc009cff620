use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ResilienceError;
use crate::validate::{LONGEST, check_duration, check_range, invalid_setting};

/// The number of slices in a window.
///
/// The budget forgets a deposit up to one slice early and a withdrawal up to one slice late. Both errors allow fewer
/// retries, never more.
const SLICES: u64 = 10;
/// How many slices are stored: one more than the window has, so that a withdrawal counts for the whole window.
const REMEMBERED: usize = 11;

/// Limits the extra load that the retries of all callers may cause.
///
/// When a service is down, every call is retried: three attempts per call put three times the load on a service that
/// already fails. With a budget, retries may only be a share of the calls (20 %), plus a few per second, so that
/// callers with few calls may retry at all. No window contains more retries than that.
///
/// All callers of one service share one budget. Do not share one between services: the outage of one would use up the
/// retries of the others.
///
/// ```
/// use ratchet_resilience::retry::RetryBudget;
/// let now = std::time::Instant::now();
///
/// let budget = RetryBudget::builder().share(0.5).floor_per_second(0.0).build()?;
/// budget.deposit(now); // a call
/// budget.deposit(now); // another
/// assert!(budget.withdraw(now)); // one retry for two calls
/// assert!(!budget.withdraw(now));
/// # Ok::<(), ratchet_resilience::ResilienceError>(())
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    /// How many retries each deposit allows, such as 0.2.
    share: f64,
    /// How many retries a window allows without any deposit.
    reserve: f64,
    /// The length of a slice in nanoseconds.
    slice: u64,
    ledger: Mutex<Ledger>,
}

/// Counts deposits and withdrawals per slice of time. Slice `n` is stored at the index `n % REMEMBERED`.
#[derive(Debug, Default)]
struct Ledger {
    /// When slice zero began: at the first call of any method.
    origin: Option<Instant>,
    /// The number of the current slice.
    latest: u64,
    /// How many calls were made in each slice.
    deposits: [u32; REMEMBERED],
    /// How many retries were made in each slice.
    withdrawals: [u32; REMEMBERED],
}

impl RetryBudget {
    /// Starts with a budget of 20 % of the calls of the last ten seconds, plus ten retries per second.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder {
            share: 0.2,
            floor: Floor::PerSecond(10.0),
            window: Duration::from_secs(10),
        }
    }

    /// Counts a call. Call this for its first attempt, but for none of its retries.
    pub fn deposit(&self, now: Instant) {
        let mut ledger = self.lock();
        let index = ledger.advance_to(now, self.slice);
        ledger.deposits[index] = ledger.deposits[index].saturating_add(1);
    }

    /// Takes one retry out of the budget. Returns whether there was one.
    #[must_use = "a retry that was refused must not be made"]
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut ledger = self.lock();
        let index = ledger.advance_to(now, self.slice);
        let allowed = self.reserve + self.share * ledger.recent_deposits();
        if ledger.recent_withdrawals() + 1.0 > allowed {
            return false;
        }
        ledger.withdrawals[index] = ledger.withdrawals[index].saturating_add(1);
        true
    }

    /// Locks the ledger. No caller's code runs under the lock, and a panic between two of its steps leaves valid
    /// counts, so the data behind a poisoned lock is still valid.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Clears the slices that have left the window, and returns the index of the current slice.
    ///
    /// Threads may read their clocks in one order and take the lock in another. So an earlier time counts as the latest
    /// one.
    fn advance_to(&mut self, now: Instant, slice: u64) -> usize {
        let origin = *self.origin.get_or_insert(now);
        let elapsed = nanoseconds(now.saturating_duration_since(origin));
        let current = (elapsed / slice).max(self.latest);
        let first_new = self.latest + 1;
        for stale in (first_new..=current).take(REMEMBERED) {
            let index = index_of(stale);
            self.deposits[index] = 0;
            self.withdrawals[index] = 0;
        }
        self.latest = current;
        index_of(current)
    }

    fn recent_withdrawals(&self) -> f64 {
        self.withdrawals.iter().copied().map(f64::from).sum()
    }

    /// Sums the deposits of all slices except the oldest, which may be partly outside of the window.
    fn recent_deposits(&self) -> f64 {
        let all: f64 = self.deposits.iter().copied().map(f64::from).sum();
        all - f64::from(self.deposits[index_of(self.latest + 1)])
    }
}

fn index_of(slice: u64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is below `REMEMBERED`, which is a usize"
    )]
    let index = (slice % REMEMBERED as u64) as usize;
    index
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Builds a [`RetryBudget`], and checks its settings.
#[derive(Debug, Clone)]
#[must_use = "nothing is checked or made before `build`"]
pub struct RetryBudgetBuilder {
    share: f64,
    floor: Floor,
    window: Duration,
}

/// How many retries are allowed without any call.
#[derive(Debug, Clone, Copy)]
enum Floor {
    /// This many retries are allowed in each second.
    PerSecond(f64),
    /// This many retries are allowed over the life of the budget.
    InAll(u32),
}

impl RetryBudgetBuilder {
    /// Sets how many retries each call allows: 0 to 1.
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Sets how many retries per second are allowed without any call: 0 to a million.
    pub fn floor_per_second(mut self, floor_per_second: f64) -> Self {
        self.floor = Floor::PerSecond(floor_per_second);
        self
    }

    /// Sets how long calls and retries count: at least a millisecond.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Counts all calls and retries of a whole run, without a window, and allows `minimum` retries without any call.
    ///
    /// A window suits a service, since it forgets. A run of jobs must not forget, since an attempt may last longer than
    /// any window. This replaces the window and the floor.
    ///
    /// ```
    /// use ratchet_resilience::retry::RetryBudget;
    /// let now = std::time::Instant::now();
    ///
    /// let budget = RetryBudget::builder().share(0.5).whole_run(1).build()?;
    /// budget.deposit(now);
    /// budget.deposit(now);
    /// let days_later = now + std::time::Duration::from_secs(3 * 24 * 60 * 60);
    /// assert!(budget.withdraw(days_later) && budget.withdraw(days_later));
    /// assert!(!budget.withdraw(days_later));
    /// # Ok::<(), ratchet_resilience::ResilienceError>(())
    /// ```
    pub fn whole_run(mut self, minimum: u32) -> Self {
        self.window = LONGEST;
        self.floor = Floor::InAll(minimum);
        self
    }

    /// Makes the budget, or names the setting that is out of range.
    pub fn build(self) -> Result<RetryBudget, ResilienceError> {
        check_range("share", self.share, 0.0..=1.0, "between 0 and 1")?;
        check_duration("window", self.window, Duration::from_millis(1))?;
        let reserve = match self.floor {
            Floor::InAll(minimum) => f64::from(minimum),
            Floor::PerSecond(floor) => {
                check_range(
                    "floor_per_second",
                    floor,
                    0.0..=1e6,
                    "between 0 and 1000000",
                )?;
                floor * self.window.as_secs_f64()
            }
        };
        if self.share == 0.0 && reserve < 1.0 {
            let (field, floor) = match self.floor {
                Floor::InAll(minimum) => ("minimum", minimum.to_string()),
                Floor::PerSecond(floor) => ("floor_per_second", floor.to_string()),
            };
            let allowed = "enough for one retry in a window while share is 0";
            return Err(invalid_setting(field, floor, allowed));
        }
        Ok(RetryBudget {
            share: self.share,
            reserve,
            slice: nanoseconds(self.window) / SLICES,
            ledger: Mutex::new(Ledger::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn budget(share: f64, floor_per_second: f64) -> RetryBudget {
        RetryBudget::builder()
            .share(share)
            .floor_per_second(floor_per_second)
            .window(WINDOW)
            .build()
            .unwrap()
    }

    #[test]
    fn defaults_are_a_fifth_and_ten_a_second() {
        let budget = RetryBudget::builder().build().unwrap();
        let now = now();
        for _ in 0..50 {
            budget.deposit(now);
        }
        let granted = (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(granted, 10 * 10 + 50 / 5);
    }

    #[test]
    fn deposits_and_withdrawals_are_forgotten_after_the_window() {
        let budget = budget(1.0, 0.0);
        let start = now();
        budget.deposit(start);
        assert!(
            !budget.withdraw(start + WINDOW + WINDOW / 10),
            "the deposit outlived the window"
        );
        let budget = self::budget(0.0, 0.1);
        assert!(budget.withdraw(start));
        assert!(
            !budget.withdraw(start + WINDOW),
            "the withdrawal was forgotten within the window"
        );
        assert!(budget.withdraw(start + WINDOW + WINDOW / 10));
    }

    #[test]
    fn a_longer_window_remembers_a_deposit_for_longer() {
        let builder = RetryBudget::builder().share(1.0).floor_per_second(0.0);
        let budget = builder.window(3 * WINDOW).build().unwrap();
        let start = now();
        budget.deposit(start);
        assert!(budget.withdraw(start + 2 * WINDOW));
    }

    proptest! {
        /// Checks by a recount, for every window that ends at a granted retry: retries <= floor + share x calls.
        #[test]
        fn no_window_is_overdrawn(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..3_000), 1..400),
            share in 0.0_f64..=1.0,
            floor in 0.1_f64..3.0,
        ) {
            let budget = budget(share, floor);
            let mut now = now();
            let (mut calls, mut retries) = (Vec::new(), Vec::new());
            for (is_call, wait) in steps {
                now += Duration::from_millis(wait);
                if is_call {
                    budget.deposit(now);
                    calls.push(now);
                } else if budget.withdraw(now) {
                    retries.push(now);
                    let within = |times: &[Instant]| -> f64 {
                        times.iter().filter(|time| now - **time <= WINDOW).map(|_| 1.0).sum()
                    };
                    let allowed = floor * WINDOW.as_secs_f64() + share * within(&calls);
                    prop_assert!(within(&retries) <= allowed + 1e-9);
                }
            }
        }
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let budget = budget(0.2, 10.0);
        let now = now();
        let threads = 8;
        let barrier = Barrier::new(threads);
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        (0..1_000)
                            .filter(|_| {
                                budget.deposit(now);
                                budget.withdraw(now)
                            })
                            .count()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        // Far more retries were requested than allowed, so the whole budget has to be used up, and nothing beyond it.
        assert_eq!(granted, 10 * 10 + 8_000 / 5);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |builder: RetryBudgetBuilder| builder.build().unwrap_err().to_string();
        let builder = RetryBudget::builder;
        assert_eq!(
            refused(builder().share(1.5)),
            "share is 1.5, but must be between 0 and 1"
        );
        assert_eq!(
            refused(builder().share(f64::NAN)),
            "share is NaN, but must be between 0 and 1"
        );
        assert_eq!(
            refused(builder().floor_per_second(-1.0)),
            "floor_per_second is -1, but must be between 0 and 1000000"
        );
        assert_eq!(
            refused(builder().window(Duration::ZERO)),
            "window is 0ns, but must be between 1ms and 365 days"
        );
        assert_eq!(
            refused(builder().share(0.0).floor_per_second(0.0)),
            "floor_per_second is 0, but must be enough for one retry in a window while share is 0"
        );
    }
}
