//! Options for how much runs at once.

use std::num::{NonZeroU32, NonZeroUsize};

use clap::Args;
use ratchet_runtime::Resource;
use ratchet_runtime::process::Prefetch;

use crate::job_count::{self, JobCount};
use crate::job_file;
use crate::settings::variable_of_setting;
use crate::value;

/// The options for how many jobs and workers run at once.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How much at once")]
pub(crate) struct ConcurrencyArguments {
    /// How many jobs run at once (default: as many as there are cores): a number, `50%` of the cores, `+1` or `-1` beside them,
    /// `0` for as many as the limits of open files and processes allow, or the name of a file that says it.
    #[arg(short, long, value_name = "N", value_parser = job_count::parse, allow_hyphen_values = true)]
    pub(crate) jobs: Option<JobCount>,
    /// How many processes each kind of worker has, if its section sets no `size` (default: as many as jobs run at once).
    #[arg(long, value_name = "N", value_parser = value::positive)]
    pub(crate) workers: Option<NonZeroU32>,
    /// How many requests may wait in a worker's pipe, beyond those that it works on: `auto` or a number.
    #[arg(long, value_name = "auto|N", value_parser = value::prefetch)]
    pub(crate) prefetch: Option<Prefetch>,
    /// Declare what jobs can have for themselves: `gpu=0,1`, `port=8000-8010`, `license=2` or `memory=16GiB`. A job takes some
    /// by --use, or by `resources` in its file.
    #[arg(long, value_name = "NAME=WHAT", value_parser = resource)]
    pub(crate) resource: Vec<(String, Resource)>,
    /// Hold back new jobs while the running ones use more memory than this, as in 4GiB. Each host is measured by itself, and
    /// so it is for --memory-free and --load.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) memory_limit: Option<u64>,
    /// Hold back new jobs while the machine has less free memory than this, as in 500MB.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) memory_free: Option<u64>,
    /// Hold back new jobs while the machine's load is above this: a number, or `100%` of the cores.
    #[arg(long, value_name = "LOAD", value_parser = load)]
    pub(crate) load: Option<f64>,
}

fn load(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, cores() / 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * unit) {
        Ok(load) if load > 0.0 && load.is_finite() => Ok(load),
        Ok(_) => Err("a load has to be more than 0".to_owned()),
        Err(_) => Err(
            "write a load as a number, as in 3.5, or in percent of the cores, as in 80%".to_owned(),
        ),
    }
}

/// Returns how many cores there are.
fn cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).map_or(f64::INFINITY, f64::from)
}

/// Parses a resource, as in `gpu=0,1`. A name whose variable is that of a setting is refused.
pub(super) fn resource(text: &str) -> Result<(String, Resource), String> {
    let (name, resource) = job_file::typed_resource(text)?;
    match variable_of_setting(&name) {
        Some(variable) => Err(job_file::name_of_setting(&name, &variable)),
        None => Ok((name, resource)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_a_number_or_a_part_of_the_cores() {
        assert_eq!(load("3.5"), Ok(3.5));
        assert_eq!(load("50%"), Ok(cores() / 2.0));
        for text in ["0", "-1", "0%", "x", "x%", "inf"] {
            assert!(load(text).is_err(), "{text}");
        }
    }
}
