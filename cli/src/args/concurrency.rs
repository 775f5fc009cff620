//! Options that say how much runs at once.

use std::num::NonZeroU32;

use clap::Args;
use ratchet_runtime::Resource;
use ratchet_runtime::process::Prefetch;

use crate::job_file;
use crate::value;

/// The options for how many jobs and workers run at once.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How much at once")]
pub(crate) struct ConcurrencyArguments {
    /// How many jobs run at once (default: as many as there are cores).
    #[arg(short, long, value_name = "N", value_parser = value::positive)]
    pub(crate) jobs: Option<NonZeroU32>,
    /// How many processes each kind of worker has, if its section sets no `size` (default: as many as jobs run at once).
    #[arg(long, value_name = "N", value_parser = value::positive)]
    pub(crate) workers: Option<NonZeroU32>,
    /// How many requests may wait in a worker's pipe, beyond those that it works on: `auto` or a number.
    #[arg(long, value_name = "auto|N", value_parser = value::prefetch)]
    pub(crate) prefetch: Option<Prefetch>,
    /// Declare what jobs can have for themselves: `gpu=0,1`, `port=8000-8010`, `license=2` or `memory=16GiB`. A job takes some
    /// by --use, or by `resources` in its file.
    #[arg(long, value_name = "NAME=WHAT", value_parser = job_file::typed_resource)]
    pub(crate) resource: Vec<(String, Resource)>,
    /// Hold back new jobs while the running ones use more memory than this, as in 4GiB. Each host is measured by itself, and
    /// so it is for --memory-free and --load.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) memory_limit: Option<u64>,
    /// Hold back new jobs while the machine has less free memory than this, as in 500MB.
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub(crate) memory_free: Option<u64>,
    /// Hold back new jobs while the machine's load is above this.
    #[arg(long, value_name = "LOAD", value_parser = load)]
    pub(crate) load: Option<f64>,
}

fn load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(load) if load > 0.0 && load.is_finite() => Ok(load),
        Ok(_) => Err("a load is more than 0".to_owned()),
        Err(_) => Err("write a load as a number, as in 3.5".to_owned()),
    }
}
