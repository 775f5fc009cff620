//! What an agent measures: its machine, and the processes that it has started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::blocking::run_blocking;
use crate::monitor::{Probe as _, Sampler};
use crate::os::{LocalProcesses, ProcessId, ProcessManager};
use crate::remote::message::{FromAgent, WireReading, usage_to_wire};

/// Measures the memory and the load of the machine.
pub(super) struct Measuring {
    /// Reads memory and load, if this system can measure them.
    sampler: Option<Arc<Mutex<Sampler>>>,
}

impl Measuring {
    /// Prepares measurements. If they are not possible, the dispatcher gets no readings.
    pub(super) fn new() -> Self {
        let sampler = match Sampler::new() {
            Ok(sampler) => Some(Arc::new(Mutex::new(sampler))),
            Err(error) => {
                tracing::warn!(
                    error = ratchet_ipc::error_chain(&error),
                    "the memory and the load of this host are not reported"
                );
                None
            }
        };
        Self { sampler }
    }

    /// Returns a task that measures the machine on a thread of its own, since that takes a while, and sends the reading.
    /// It does nothing while another measurement is under way.
    pub(super) fn machine(
        &self,
        messages: mpsc::UnboundedSender<FromAgent>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let sampler = Arc::clone(self.sampler.as_ref()?);
        Some(async move {
            let measured = run_blocking(move || {
                let mut sampler = sampler.try_lock().ok()?;
                Some(WireReading::from(&sampler.read()))
            });
            match measured.await {
                // An error means that the session has ended.
                Ok(Some(reading)) => drop(messages.send(FromAgent::Machine(reading))),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the machine cannot be measured"),
            }
        })
    }
}

/// Measures processes, each of which the dispatcher knows by a number, and sends the answer to its question. That takes a
/// while.
pub(super) async fn measure_processes(
    local: Arc<LocalProcesses>,
    question: u64,
    processes: BTreeMap<ProcessId, u64>,
    messages: mpsc::UnboundedSender<FromAgent>,
) {
    let wanted: Vec<ProcessId> = processes.keys().copied().collect();
    let usage = local
        .measure_processes(&wanted)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(
                error = ratchet_ipc::error_chain(&error),
                "processes cannot be measured"
            );
            BTreeMap::new()
        });
    let usage = usage
        .into_iter()
        .filter_map(|(local, usage)| Some(usage_to_wire(*processes.get(&local)?, usage)))
        .collect();
    // An error means that the session has ended.
    let _ = messages.send(FromAgent::Measured { question, usage });
}
