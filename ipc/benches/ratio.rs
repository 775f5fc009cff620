//! Prints the speed of each benchmark relative to its reference in the same run. Ratios differ less between machines
//! than times.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Measures how long some work takes.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the real time"
)]
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The measurements so far.
#[derive(Default)]
pub(crate) struct Ratios(RefCell<Vec<Measured>>);

struct Measured {
    group: String,
    name: &'static str,
    total: Duration,
    operations: u64,
}

impl Ratios {
    /// Adds a measurement to those of the same name.
    pub(crate) fn note(&self, group: &str, name: &'static str, total: Duration, operations: u64) {
        let mut measured = self.0.borrow_mut();
        match measured
            .iter_mut()
            .find(|other| other.group == group && other.name == name)
        {
            Some(same) => {
                same.total += total;
                same.operations += operations;
            }
            None => measured.push(Measured {
                group: group.to_owned(),
                name,
                total,
                operations,
            }),
        }
    }

    /// Prints each measurement next to the first of its group, which is the reference.
    #[expect(
        clippy::print_stdout,
        reason = "the table is what the benchmark is run for"
    )]
    pub(crate) fn print(&self) {
        let measured = self.0.borrow();
        println!(
            "{:<28} {:<12} {:>12} {:>14} {:>8}",
            "group", "who", "ns each", "a second", "ratio"
        );
        for this in measured.iter() {
            let reference = measured.iter().find(|other| other.group == this.group);
            let ratio = reference.map_or(1.0, |reference| reference.each() / this.each());
            println!(
                "{:<28} {:<12} {:>12.0} {:>14.0} {:>8.2}",
                this.group,
                this.name,
                this.each() * 1e9,
                1.0 / this.each(),
                ratio
            );
        }
    }
}

impl Measured {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a benchmark does not count that far"
    )]
    fn each(&self) -> f64 {
        self.total.as_secs_f64() / self.operations as f64
    }
}
