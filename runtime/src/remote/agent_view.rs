//! The view of a process on another host, which can ask its agent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::table::ProcessTable;
use super::view::RemoteView;
use crate::os::{InputCount, OutputCount, ProcessId, ProcessView};
use crate::suspension::working_now;

/// The view of a process on another host, which can ask its agent.
pub(super) struct AgentView {
    pub(super) id: ProcessId,
    pub(super) view: Arc<RemoteView>,
    pub(super) table: Arc<ProcessTable>,
}

#[async_trait]
impl ProcessView for AgentView {
    fn input(&self) -> Option<InputCount> {
        self.view.input()
    }

    fn written_input(&self) -> Option<u64> {
        Some(self.view.written())
    }

    fn output(&self) -> Option<OutputCount> {
        let (printed, read) = self.view.stdout.counts();
        Some(OutputCount { printed, read })
    }

    fn has_ended(&self) -> bool {
        self.view.is_over()
    }

    fn is_direct(&self) -> bool {
        false
    }

    async fn catch_up(&self) {
        let Some(answer) = self.table.count_output(self.id, working_now()) else {
            return;
        };
        // Without an answer the process has ended, or the host is lost.
        if let Ok(Some(printed)) = answer.await {
            self.view.stdout.has_received(printed).await;
        }
        self.table.output_counted(self.id);
    }

    fn ran(&self) -> Option<Duration> {
        self.view.ran()
    }
}
