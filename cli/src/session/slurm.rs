//! The Slurm allocation in which a run was started: its nodes, their slots, and its end.

mod nodes;

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_resilience::shutdown::Grace;
use ratchet_runtime::RunHandle;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::console::Console;
use crate::error::CliError;
use crate::escape::plain;
use crate::readable::duration;

/// How long Slurm may take to answer how much time an allocation has left.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long the last results and messages may take before the allocation ends.
const FINAL_OUTPUT_TIME: Duration = Duration::from_secs(5);

/// How often the clock is read while waiting. A single long sleep would miss that the clock was set, or that the
/// machine was asleep.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// An allocation, as the variables of its jobs describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The number of the job that has the allocation.
    id: String,
    /// The nodes, each with its slots if their number is known.
    nodes: Vec<(String, Option<u32>)>,
    /// The end, if a variable gives it.
    end: Option<SystemTime>,
}

impl Allocation {
    /// Reads the allocation in which this process runs.
    pub(super) fn current() -> Result<Self, CliError> {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads the variables of an allocation.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CliError> {
        let Some((id, list)) = variable("SLURM_JOB_ID").zip(variable("SLURM_JOB_NODELIST")) else {
            return Err(CliError::usage(
                "--on slurm: ratchet runs outside of a Slurm allocation: SLURM_JOB_ID or SLURM_JOB_NODELIST is not set",
            )
            .with_help("start ratchet with `salloc` or `sbatch`"));
        };
        let refuse =
            |name: &str, why: String| CliError::usage(format!("--on slurm: {name}: {why}"));
        let names = nodes::expand(&list).map_err(|why| refuse("SLURM_JOB_NODELIST", why))?;
        // If no number of tasks was asked for, Slurm counts one per node.
        let source = match variable("SLURM_NTASKS") {
            Some(_) => "SLURM_TASKS_PER_NODE",
            None => "SLURM_JOB_CPUS_PER_NODE",
        };
        let slots = match variable(source) {
            None => vec![None; names.len()],
            Some(text) => {
                let counts = nodes::counts(&text, names.len());
                let counts = counts.map_err(|why| refuse(source, why))?;
                counts.into_iter().map(Some).collect()
            }
        };
        let end = match variable("SLURM_JOB_END_TIME").map(|text| text.parse::<u32>()) {
            None => None,
            Some(Ok(seconds)) => {
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seconds)))
            }
            Some(Err(_)) => {
                let why = "it is not a time in seconds".to_owned();
                return Err(refuse("SLURM_JOB_END_TIME", why));
            }
        };
        Ok(Self {
            id,
            nodes: names.into_iter().zip(slots).collect(),
            end,
        })
    }

    /// Returns the nodes, each with its slots if their number is known.
    pub(super) fn nodes(&self) -> &[(String, Option<u32>)] {
        &self.nodes
    }

    /// Drains the run when the rest of the allocation is needed to end the running jobs, which then have `grace` to
    /// finish. If `told` is a console, messages about this are printed on it.
    pub(super) fn watch_end(
        self,
        handle: RunHandle,
        phases: Grace,
        grace: Duration,
        told: Option<Console>,
    ) {
        let reserve =
            phases.draining + phases.cancelling + phases.killing + ANSWER_LIMIT + FINAL_OUTPUT_TIME;
        tokio::spawn(async move {
            let said = match self.until_left(reserve).await {
                Ok(()) => {
                    handle.drain();
                    format!(
                        "the Slurm allocation {} ends soon: no new jobs start; running jobs have {} to finish",
                        plain(&self.id),
                        duration(grace)
                    )
                }
                Err(why) => format!(
                    "the end of the Slurm allocation {} is unknown, so the run is not stopped before it: {why}",
                    plain(&self.id)
                ),
            };
            if let Some(console) = told {
                console.say(&format!("ratchet: {said}\n"));
            }
        });
    }

    /// Waits until no more than `reserve` is left of the allocation. The error is the reason why its end is not known.
    async fn until_left(&self, reserve: Duration) -> Result<(), String> {
        let mut end = match self.end {
            Some(end) => end,
            None => match self.ask_for_end().await? {
                Some(end) => end,
                // The allocation has no end.
                None => return std::future::pending().await,
            },
        };
        loop {
            let Ok(left) = end.duration_since(SystemClock.now() + reserve) else {
                // The allocation may have got more time. If Slurm does not answer, the known end counts.
                match self.ask_for_end().await {
                    Ok(Some(later)) if later > end + CLOCK_CHECK_INTERVAL => end = later,
                    Ok(None) => return std::future::pending().await,
                    Ok(Some(_)) | Err(_) => return Ok(()),
                }
                continue;
            };
            sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
        }
    }

    /// Asks Slurm when the allocation ends; `None` if it has no end.
    async fn ask_for_end(&self) -> Result<Option<SystemTime>, String> {
        let squeue = Command::new("squeue")
            .args(["-h", "-j", &self.id, "-o", "%L"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match timeout(ANSWER_LIMIT, squeue).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(format!("squeue: {error}")),
            Err(_) => return Err("squeue does not answer".to_owned()),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some(left) = nodes::time_left(said.trim()) {
            return Ok(left.map(|left| SystemClock.now() + left));
        }
        let error = String::from_utf8_lossy(&output.stderr);
        let said = format!("{} {}", said.trim(), error.trim());
        Err(format!("squeue said: {}", plain(said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Allocation, String> {
        let find = |name: &str| {
            let mut variables = variables.iter();
            let (_, value) = variables.find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        Allocation::of(find).map_err(|error| error.to_string())
    }

    #[test]
    fn the_variables_of_an_allocation_tell_its_nodes_their_slots_and_its_end() {
        let basic = [
            ("SLURM_JOB_ID", "7"),
            ("SLURM_JOB_NODELIST", "n[1-3]"),
            ("SLURM_JOB_CPUS_PER_NODE", "64(x2),32"),
            ("SLURM_TASKS_PER_NODE", "4(x3)"),
        ];
        let allocation = of(&basic).unwrap();
        let slots = |allocation: &Allocation| -> Vec<_> {
            allocation.nodes.iter().map(|(_, slots)| *slots).collect()
        };
        assert_eq!(slots(&allocation), [Some(64), Some(64), Some(32)]);
        assert_eq!(allocation.end, None);
        let more = [("SLURM_NTASKS", "12"), ("SLURM_JOB_END_TIME", "1700000000")];
        let allocation = of(&[&basic[..], &more].concat()).unwrap();
        assert_eq!(slots(&allocation), [Some(4); 3]);
        assert_eq!(
            allocation.end,
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        );
        assert_eq!(slots(&of(&basic[..2]).unwrap()), [None; 3]);
    }

    #[test]
    fn what_is_no_allocation_is_refused_with_the_variable_that_is_wrong() {
        for (variables, said) in [
            (&[][..], "is not set"),
            (&[("SLURM_JOB_ID", "7")], "is not set"),
            (
                &[("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "n[1-")],
                "SLURM_JOB_NODELIST: ",
            ),
            (
                &[
                    ("SLURM_JOB_ID", "7"),
                    ("SLURM_JOB_NODELIST", "n[1-2]"),
                    ("SLURM_JOB_CPUS_PER_NODE", "8(x3)"),
                ],
                "SLURM_JOB_CPUS_PER_NODE: ",
            ),
            (
                &[
                    ("SLURM_JOB_ID", "7"),
                    ("SLURM_JOB_NODELIST", "n1"),
                    ("SLURM_JOB_END_TIME", "soon"),
                ],
                "SLURM_JOB_END_TIME: ",
            ),
        ] {
            let error = of(variables).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
