//! Serves the socket of a run, through which other processes query and steer it.

use std::sync::Arc;
use std::time::Instant;

use ratchet_runtime::RunHandle;
use ratchet_runtime::process::ProcessPool;

use super::hosts::StartedHosts;
use super::job_source::on_terminal;
use super::record::RunRecord;
use super::run::RunContext;
use super::system_limits;
use super::terminal::TerminalUse;
use crate::job_file::{JobAdder, StartedParts, WorkerPlan};
use crate::live::{JobAdding, LiveFigures, LiveServer, Served};

impl RunContext {
    /// Serves the socket through which other processes query and steer this run. Without it, the run continues all the
    /// same.
    pub(super) fn serve(
        &self,
        record: &RunRecord,
        handle: &RunHandle,
        (figures, began): (&Arc<LiveFigures>, Instant),
        (pools, adder): (&[ProcessPool], Option<(Arc<JobAdder>, StartedParts)>),
    ) -> Option<LiveServer> {
        let uses_terminal = self.options.terminal == TerminalUse::Job;
        let adding = adder.map(|(adder, started)| {
            let record = (&*record.folder(), record.journal_path());
            JobAdding::new(adder, started, record, move |job| {
                if uses_terminal { on_terminal(job) } else { job }
            })
        });
        let served = Served {
            run: record.id().to_string(),
            handle: handle.clone(),
            figures: Arc::clone(figures),
            began,
            fit: Box::new(move |slots| {
                if uses_terminal {
                    return 1;
                }
                // If the limit cannot be raised, there is room for no more than before.
                system_limits::prepare(slots, 0).unwrap_or(1)
            }),
            record: record.steering(),
            pools: pools.to_vec(),
            adding,
        };
        match LiveServer::start(&record.folder(), served) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "this run cannot answer questions, because its socket cannot be created");
                None
            }
        }
    }

    /// Returns what jobs that are added can use.
    pub(super) fn started_parts(
        &self,
        workers: &[WorkerPlan],
        hosts: &StartedHosts,
    ) -> StartedParts {
        StartedParts {
            serves: workers.iter().map(|worker| worker.serves.clone()).collect(),
            hosts: hosts.iter().map(|(name, _)| name.clone()).collect(),
            cache_refused: self.cache_refusal(),
        }
    }

    /// Returns why jobs that are added may not use the cache, if they may not.
    fn cache_refusal(&self) -> Option<String> {
        let refused = self.trust.folder(self.options.used_cache_dir()?);
        refused.err().map(|error| error.to_string())
    }
}
