//! The calls whose jobs are in progress: their work, and those results that must not be in outcomes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::Call;
use crate::programs::Answer;
use crate::result::TaskResult;

/// The calls that were given out, by the ids of their jobs. Clones share them.
///
/// The machine, which decides what comes next, inserts and removes calls. The runner, which performs jobs, looks them
/// up and stores the result here instead of in the outcome: outcomes are recorded, and a result may contain secrets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashMap<String, Entry>>>);

/// A call, and the result of its latest attempt.
#[derive(Debug)]
struct Entry {
    call: Arc<Call>,
    result: Option<CallResult>,
}

/// The result of an attempt at a call.
#[derive(Debug)]
pub(crate) enum CallResult {
    /// The result of a task.
    Task(Box<TaskResult>),
    /// The answer of the program of a lookup, or why it was killed.
    Lookup(Result<Answer, String>),
}

impl Calls {
    /// Adds a call whose job is given out.
    pub(crate) fn put(&self, call: Call) {
        let id = call.id.as_str().to_owned();
        let call = Arc::new(call);
        self.lock().insert(id, Entry { call, result: None });
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Call>> {
        self.lock().get(id).map(|entry| Arc::clone(&entry.call))
    }

    /// Stores the result of an attempt, in place of that of an earlier attempt.
    pub(crate) fn set_result(&self, id: &str, result: CallResult) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.result = Some(result);
        }
    }

    /// Removes the result of an attempt that is repeated.
    pub(crate) fn clear_result(&self, id: &str) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.result = None;
        }
    }

    /// Removes the call of a job that has ended, with its result.
    pub(crate) fn take(&self, id: &str) -> Option<(Arc<Call>, Option<CallResult>)> {
        let entry = self.lock().remove(id)?;
        Some((entry.call, entry.result))
    }

    // Each change is a single insertion or removal, so a panic elsewhere cannot leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
