//! Runs a soak test; see `ratchet_tests::chaos`. The host, the workers and the commands of the soak are this program as well.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ratchet_runtime::remote::{Agent, run_keeper};
use ratchet_tests::chaos::{self, HostPlan, HostSoak, Performer, Plan, Soak};

type Failed = Box<dyn Error>;

/// The text that is printed for unknown flags.
const USAGE: &str = "usage: chaos [--seed N] [--jobs N] [--kills N] [--hosts N] [--keep FOLDER]";

fn main() -> Result<ExitCode, Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["host", seed, jobs, life, folder] => {
            let plan = Plan {
                seed: seed.parse()?,
                jobs: jobs.parse()?,
            };
            chaos::run_host(plan, Path::new(folder), life.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["worker", seed, performer, ref program @ ..] => {
            let performer = Performer::named(performer).ok_or("there is no such worker")?;
            chaos::run_worker(&plan(seed)?, performer, program.first().map(Path::new))?;
            Ok(ExitCode::SUCCESS)
        }
        ["command", seed, job] => chaos::run_command(&plan(seed)?, job.parse()?),
        ["scripted-command", seed, input, program] => {
            chaos::run_scripted_command(&plan(seed)?, input.parse()?, Path::new(program))?;
            Ok(ExitCode::SUCCESS)
        }
        ["dispatcher", seed, jobs, hosts, life, folder] => {
            let plan = host_plan(seed, jobs, hosts)?;
            chaos::run_dispatcher(plan, Path::new(folder), life.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["relay", host, ref command @ ..] => {
            chaos::run_relay(host, command)?;
            Ok(ExitCode::SUCCESS)
        }
        ["agent"] => {
            serve()?;
            Ok(ExitCode::SUCCESS)
        }
        ["agent-keeper"] => {
            run_keeper()?;
            Ok(ExitCode::SUCCESS)
        }
        ["attempt", seed, hosts, job, notes] => {
            let plan = host_plan(seed, "0", hosts)?;
            chaos::run_attempt(plan, job.parse()?, Path::new(notes))
        }
        _ => drive(&words),
    }
}

/// Serves the dispatcher of a soak over hosts as an agent.
fn serve() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let keeper = [
        std::env::current_exe()?.into_os_string(),
        "agent-keeper".into(),
    ];
    Ok(runtime.block_on(Agent::new().keeper(keeper).serve_stdio())?)
}

fn host_plan(seed: &str, jobs: &str, hosts: &str) -> Result<HostPlan, Failed> {
    Ok(HostPlan {
        plan: Plan {
            seed: seed.parse()?,
            jobs: jobs.parse()?,
        },
        hosts: hosts.parse()?,
    })
}

/// Makes the plan of a seed for workers, for which the number of jobs does not matter.
fn plan(seed: &str) -> Result<Plan, Failed> {
    let seed = seed.parse()?;
    Ok(Plan { seed, jobs: 0 })
}

/// Runs a soak by these flags, and prints its report.
#[expect(clippy::print_stdout, reason = "the report is what it is run for")]
fn drive(words: &[&str]) -> Result<ExitCode, Failed> {
    let folder = tempfile::tempdir()?;
    let mut soak = Soak {
        plan: Plan {
            seed: 7,
            jobs: 200_000,
        },
        kills: 5,
        folder: folder.path().to_path_buf(),
    };
    let mut hosts = None;
    for pair in words.chunks(2) {
        match *pair {
            ["--seed", seed] => soak.plan.seed = seed.parse()?,
            ["--jobs", jobs] => soak.plan.jobs = jobs.parse()?,
            ["--kills", kills] => soak.kills = kills.parse()?,
            ["--hosts", number] => hosts = Some(number.parse()?),
            ["--keep", folder] => soak.folder = PathBuf::from(folder),
            _ => return Err(USAGE.into()),
        }
    }
    let is_clean = if let Some(hosts) = hosts {
        let soak = HostSoak {
            plan: HostPlan {
                plan: soak.plan,
                hosts,
            },
            kills: soak.kills,
            folder: soak.folder,
        };
        let report = soak.run()?;
        print!("{report}");
        report.is_clean()
    } else {
        let report = soak.run()?;
        print!("{report}");
        report.is_clean()
    };
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
