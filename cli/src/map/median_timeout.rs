//! The timeout that ends commands which take far longer than the others: a multiple of the median so far.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ratchet_runtime::process::{CommandEnd, ProcessError, StopCause, working_now};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How many commands have to succeed before the median of their durations is used.
const LEAST_COUNT: u64 = 3;

/// The ratio of the upper to the lower bound of a class of durations. The median is known to one percent.
const CLASS_RATIO: f64 = 1.01;

/// How many classes there are. The last one begins at some ten thousand years.
const CLASSES: usize = 4096;

/// The timeout of commands, which follows the median of those that have succeeded.
pub(crate) struct MedianTimeout {
    /// How long a command may take, in percent of the median.
    percent: u32,
    durations: Mutex<Durations>,
    /// How long a command may take. It is nothing until enough commands have succeeded.
    limit: watch::Sender<Option<Duration>>,
}

impl MedianTimeout {
    /// Makes a timeout of this many percent of the median.
    pub(crate) fn new(percent: u32) -> Self {
        Self {
            percent,
            durations: Mutex::new(Durations::default()),
            limit: watch::Sender::new(None),
        }
    }

    /// Waits for the end of a command that starts now. If it takes too long, `cancel` asks it to stop, and it counts as
    /// timed out.
    pub(super) async fn guard(
        &self,
        run: impl Future<Output = Result<CommandEnd, ProcessError>>,
        cancel: &CancellationToken,
    ) -> Result<CommandEnd, ProcessError> {
        let start = working_now();
        let mut run = std::pin::pin!(run);
        let (mut result, is_late) = tokio::select! {
            biased;
            result = &mut run => (result, false),
            () = self.exceeded(start) => {
                cancel.cancel();
                (run.await, true)
            }
        };
        match &mut result {
            Ok(end) if end.is_success() => self.note(working_now() - start),
            Ok(end) if is_late && end.stopped == Some(StopCause::Cancelled) => {
                end.stopped = Some(StopCause::Timeout);
            }
            _ => {}
        }
        result
    }

    /// Waits until a command that started at this time has taken too long.
    async fn exceeded(&self, start: Instant) {
        let mut limit = self.limit.subscribe();
        loop {
            let most = *limit.borrow_and_update();
            let left = most.map(|most| most.saturating_sub(working_now() - start));
            let over = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // This cannot fail, because the sender is a field of `self`.
                _ = limit.changed() => {}
                // During a suspension the sleep goes on, but the clock of work stands still. So the time left is
                // computed anew, and only zero counts.
                () = over => if left == Some(Duration::ZERO) {
                    return;
                },
            }
        }
    }

    /// Adds the duration of a command that has succeeded, and updates the limit.
    fn note(&self, duration: Duration) {
        let mut durations = self
            .durations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        durations.add(duration);
        let median = durations.median();
        drop(durations);
        let limit = median.map(|median| median.mul_f64(f64::from(self.percent) / 100.0));
        self.limit.send_if_modified(|known| {
            let is_new = *known != limit;
            *known = limit;
            is_new
        });
    }
}

/// Counts of durations in classes. Each class begins one percent above the one before.
struct Durations {
    classes: Box<[u64]>,
    count: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            classes: vec![0; CLASSES].into(),
            count: 0,
        }
    }
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        let micros = duration.as_secs_f64() * 1e6;
        // The cast saturates: less than a microsecond, whose logarithm is negative, falls into the first class.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts of floats saturate"
        )]
        let class = (micros.ln() / CLASS_RATIO.ln()) as usize;
        self.classes[class.min(CLASSES - 1)] += 1;
        self.count += 1;
    }

    /// Returns the upper bound of the class of the median, if there are enough durations.
    fn median(&self) -> Option<Duration> {
        if self.count < LEAST_COUNT {
            return None;
        }
        let mut below = 0;
        let is_median = |count: &u64| {
            below += count;
            2 * below >= self.count
        };
        let class = self.classes.iter().position(is_median)?;
        let micros = CLASS_RATIO.powi(i32::try_from(class + 1).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(micros / 1e6).ok()
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::process::{Ended, Ending, Exit};

    use super::*;

    fn end(exit: i32, stopped: Option<StopCause>) -> CommandEnd {
        CommandEnd {
            ended: Ended {
                exit: Exit::Code(exit),
                ending: Ending::ByItself,
                left_behind: false,
                survivors: Vec::new(),
            },
            stopped,
            cost: None,
        }
    }

    #[test]
    fn the_median_is_known_to_a_percent() {
        let mut durations = Durations::default();
        for millis in [5, 900, 10] {
            assert_eq!(durations.median(), None);
            durations.add(Duration::from_millis(millis));
        }
        let median = durations.median().unwrap().as_secs_f64();
        assert!((0.010..=0.0102).contains(&median), "{median}");
        durations.add(Duration::ZERO);
        durations.add(Duration::MAX);
        assert!(durations.median().is_some());
    }

    #[tokio::test]
    async fn a_command_that_takes_a_multiple_of_the_median_is_timed_out() {
        let timeout = MedianTimeout::new(200);
        let cancel = CancellationToken::new();
        for _ in 0..3 {
            timeout.note(Duration::from_millis(1));
        }
        let hangs = async {
            cancel.cancelled().await;
            Ok(end(1, Some(StopCause::Cancelled)))
        };
        let ended = timeout.guard(hangs, &cancel).await.unwrap();
        assert_eq!(ended.stopped, Some(StopCause::Timeout));
    }

    #[tokio::test]
    async fn a_command_waits_for_its_limit_as_long_as_none_is_known() {
        let timeout = MedianTimeout::new(200);
        let cancel = CancellationToken::new();
        let hangs = async {
            cancel.cancelled().await;
            Ok(end(1, Some(StopCause::Cancelled)))
        };
        let others = async {
            for _ in 0..3 {
                let ends = async { Ok(end(0, None)) };
                timeout
                    .guard(ends, &CancellationToken::new())
                    .await
                    .unwrap();
            }
        };
        let (ended, ()) = tokio::join!(timeout.guard(hangs, &cancel), others);
        assert_eq!(ended.unwrap().stopped, Some(StopCause::Timeout));
    }
}
