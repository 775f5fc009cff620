//! The calls whose jobs are under way: what is to be done, and the results that are not in outcomes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::Call;
use crate::result::TaskResult;

/// The calls that were given out, by the ids of their jobs. Clones share them.
///
/// Whoever decides what comes next puts calls in and takes them out. Whoever performs jobs looks them up, and leaves the
/// result here: it may be one that must not be in an outcome, which is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    call: Arc<Call>,
    result: Option<TaskResult>,
}

impl Calls {
    pub(crate) fn put(&self, call: Call) {
        let id = call.id.as_str().to_owned();
        let call = Arc::new(call);
        self.lock().insert(id, Entry { call, result: None });
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Call>> {
        self.lock().get(id).map(|entry| Arc::clone(&entry.call))
    }

    /// Leaves the result of an attempt. That of a later attempt replaces it.
    pub(crate) fn set_result(&self, id: &str, result: TaskResult) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.result = Some(result);
        }
    }

    /// Forgets the result of an attempt that is made again.
    pub(crate) fn clear_result(&self, id: &str) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.result = None;
        }
    }

    pub(crate) fn take(&self, id: &str) -> Option<(Arc<Call>, Option<TaskResult>)> {
        let entry = self.lock().remove(id)?;
        Some((entry.call, entry.result))
    }

    // Each change is one insertion or removal, so a panic elsewhere leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
