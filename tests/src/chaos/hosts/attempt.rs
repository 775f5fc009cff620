//! An attempt at a job of the soak over hosts.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use super::plan::HostPlan;
use super::{HERE, HOST_VARIABLE};
use crate::chaos::LIFE_VARIABLE;
use crate::chaos::notes::{Fact, NoteWriter};

/// How often an attempt notes that it still runs.
const BEAT: Duration = Duration::from_millis(2);

/// The variable with the devices that a command has.
const DEVICE_VARIABLE: &str = "RATCHET_DEVICE";

/// Does the work of a job, and notes it.
#[expect(
    clippy::disallowed_methods,
    reason = "a process of its own takes the time that it works"
)]
pub fn run_attempt(plan: HostPlan, job: u32, notes: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let host = match env::var(HOST_VARIABLE) {
        Ok(host) => host.parse()?,
        Err(_) => HERE,
    };
    let life = env::var(LIFE_VARIABLE)?.parse()?;
    let mut notes = NoteWriter::open(notes, life)?;
    let spec = plan.job(job);
    let devices = env::var(DEVICE_VARIABLE).unwrap_or_default();
    let devices: Vec<u32> = devices
        .split(',')
        .filter(|device| !device.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let devices = devices.into_iter().map(|device| Fact::Has(job, device));
    notes.note_all(std::iter::once(Fact::Starts(job, host)).chain(devices))?;
    let begin = Instant::now();
    while let Some(left) = spec.work.checked_sub(begin.elapsed()) {
        park_timeout(left.min(BEAT));
        notes.note(Fact::Beats(job, host))?;
    }
    if spec.is_flaky && plan.fails(std::process::id()) {
        notes.note(Fact::Fails(job, host))?;
        return Ok(ExitCode::FAILURE);
    }
    notes.note(Fact::Done(job, host))?;
    Ok(ExitCode::SUCCESS)
}
